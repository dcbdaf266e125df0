package oidc_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/e2e/local/internal/testpool"
	"github.com/central-ops/central-ops/e2e/local/oidc"
)

const (
	callback = "http://localhost:8976/callback"
	verifier = "a-verifier-of-at-least-43-characters-as-RFC-7636-wants"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// pages is a front whose pool has ann, and what asks it for codes.
type pages struct {
	t     *testing.T
	front *oidc.Front
	ahead atomic.Int64 // how far the front's clock has gone on, a time.Duration; it stands still otherwise
}

func startPages(t *testing.T) *pages {
	t.Helper()
	access, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(testpool.Claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))).SignedString([]byte("moto's"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+testpool.ID+"/.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]any{"keys": []any{}}) })
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			AuthFlow       string
			ClientID       string `json:"ClientId"`
			AuthParameters struct{ USERNAME, PASSWORD string }
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.AuthFlow != "USER_PASSWORD_AUTH" || in.ClientID != testpool.Client ||
			r.Header.Get("X-Amz-Target") != "AWSCognitoIdentityProviderService.InitiateAuth" {
			t.Errorf("moto was asked for %+v, %v", in, err)
		}
		switch in.AuthParameters.USERNAME + " " + in.AuthParameters.PASSWORD {
		case "ann right":
			reply(w, map[string]any{"AuthenticationResult": map[string]any{"AccessToken": access, "IdToken": "id", "RefreshToken": "refresh", "ExpiresIn": 3600}})
		case "erin temporary":
			reply(w, map[string]any{"ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": "s"})
		case "ann wrong":
			w.WriteHeader(http.StatusBadRequest)
			reply(w, map[string]any{"__type": "NotAuthorizedException", "message": "Incorrect username or password."})
		default:
			w.WriteHeader(http.StatusBadRequest)
			reply(w, map[string]any{"__type": "UserNotFoundException", "message": "User does not exist."})
		}
	})
	upstream := httptest.NewServer(mux)
	t.Cleanup(upstream.Close)
	p := &pages{t: t}
	began := time.Now()
	people := oidc.Client{PoolID: testpool.ID, ID: testpool.Client, Scopes: []string{"openid", "email"}, Flows: []string{"code"},
		CallbackURLs: []string{callback, "https://example.com/back?tab=1"}, Providers: []string{"COGNITO"}}
	other, federated, confidential, machine := people, people, people, people
	other.ID, federated.ID, confidential.ID, machine.ID = "other", "federated", "confidential", "machine"
	federated.Providers = []string{"Company"}
	confidential.Secret = "s3cret"
	machine.Flows = []string{"client_credentials"}
	p.front, err = oidc.StartFront(oidc.FrontConfig{
		Upstream: upstream.URL, Clients: oidc.Sources{oidc.Clients{people}, oidc.Clients{other, federated, confidential, machine}},
		Now: func() time.Time { return began.Add(time.Duration(p.ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.front.Close() }) // nothing is left that it could tell
	return p
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) } // the front sees a cut answer

// browser keeps cookies and stops at the first redirect that leaves the front.
func (p *pages) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if "http://"+r.URL.Host != p.front.URL {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// page is what a browser shows in the end, or where it was sent.
type page struct {
	status   int
	address  string
	location *url.URL // that leaves the front; nil if it does not
	body     string
	header   http.Header
}

func (p *pages) do(browser *http.Client, r *http.Request) page {
	p.t.Helper()
	resp, err := browser.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	location, _ := resp.Location() // there may be none
	return page{resp.StatusCode, resp.Request.URL.String(), location, string(body), resp.Header}
}

func (p *pages) open(browser *http.Client, address string) page {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.do(browser, r)
}

var csrfField = regexp.MustCompile(`name="_csrf" value="([^"]*)"`)

// submit fills in the form of a page.
func (p *pages) submit(browser *http.Client, form page, username, password string) page {
	p.t.Helper()
	token := csrfField.FindStringSubmatch(form.body)
	if token == nil {
		p.t.Fatalf("no form at %s: %d %s", form.address, form.status, form.body)
	}
	return p.post(browser, form.address, url.Values{"_csrf": {html.UnescapeString(token[1])}, "username": {username}, "password": {password}})
}

func (p *pages) post(browser *http.Client, address string, form url.Values) page {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.do(browser, r)
}

// address is that of an authorization request, with changes; "" takes a parameter away.
func (p *pages) address(changes map[string]string) string {
	parameters := map[string]string{"response_type": "code", "client_id": testpool.Client, "redirect_uri": callback, "scope": "openid", "state": `s"&<1`,
		"code_challenge": challenge(verifier), "code_challenge_method": "S256"}
	maps.Copy(parameters, changes)
	query := url.Values{}
	for name, value := range parameters {
		if value != "" {
			query.Set(name, value)
		}
	}
	return p.front.HostedUI(testpool.ID) + "/oauth2/authorize?" + query.Encode()
}

// code signs ann in.
func (p *pages) code(changes map[string]string) string {
	p.t.Helper()
	browser := p.browser()
	back := p.submit(browser, p.open(browser, p.address(changes)), "ann", "right")
	if back.location == nil || back.location.Query().Get("code") == "" {
		p.t.Fatalf("no code: %+v", back)
	}
	return back.location.Query().Get("code")
}

// trade asks for the tokens of a code.
func (p *pages) trade(code string, changes map[string]string) (int, map[string]any) {
	p.t.Helper()
	parameters := map[string]string{"grant_type": "authorization_code", "client_id": testpool.Client, "redirect_uri": callback, "code": code, "code_verifier": verifier}
	maps.Copy(parameters, changes)
	form := url.Values{}
	for name, value := range parameters {
		if value != "" {
			form.Set(name, value)
		}
	}
	got := p.post(http.DefaultClient, p.front.TokenURL(testpool.ID), form)
	if got.header.Get("Cache-Control") != "no-store" {
		p.t.Errorf("tokens may be kept: %v", got.header)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(got.body), &out); err != nil {
		p.t.Fatalf("%s: %v", got.body, err)
	}
	return got.status, out
}

func TestSignInPage(t *testing.T) {
	t.Parallel()
	p := startPages(t)
	browser := p.browser()
	form := p.open(browser, p.address(nil))
	if form.status != http.StatusOK || !strings.HasPrefix(form.address, p.front.HostedUI(testpool.ID)+"/login?") || form.header.Get("Cache-Control") != "no-store" ||
		form.header.Get("Referrer-Policy") != "no-referrer" || !strings.Contains(form.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Fatalf("the form: %+v", form)
	}
	for _, row := range []struct{ username, password, want string }{
		{"ann", "wrong", "Incorrect username or password."},
		{"nobody", "right", "Incorrect username or password."},
		{"erin", "temporary", "NEW_PASSWORD_REQUIRED"},
		{`"><script>`, "wrong", `value="&#34;&gt;&lt;script&gt;"`},
	} {
		form = p.submit(browser, form, row.username, row.password)
		if form.status != http.StatusOK || !strings.Contains(form.body, row.want) || strings.Contains(form.body, "<script>") || strings.Contains(form.body, `"`+row.password+`"`) {
			t.Errorf("%s: %d %s, want %q", row.username, form.status, form.body, row.want)
		}
	}
	back := p.submit(browser, form, "ann", "right")
	if back.location == nil || back.status != http.StatusFound {
		t.Fatalf("after the right password: %+v", back)
	}
	query := back.location.Query()
	code := query.Get("code")
	query.Del("code")
	back.location.RawQuery = ""
	if code == "" || back.location.String() != callback || query.Encode() != (url.Values{"state": {`s"&<1`}}).Encode() {
		t.Errorf("sent to %s with %v and code %q", back.location, query, code)
	}

	status, out := p.trade(code, nil)
	access, _ := out["access_token"].(string)
	delete(out, "access_token")
	if diff := cmp.Diff(map[string]any{"id_token": "id", "refresh_token": "refresh", "expires_in": 3600.0, "token_type": "Bearer"}, out); diff != "" || status != http.StatusOK {
		t.Fatalf("%d, tokens (-want +got):\n%s", status, diff)
	}
	token, err := authorizer(t, *testpool.Authorizer(p.front), http.DefaultClient).Check(t.Context(), access)
	if err != nil || token.Subject != "5d3a" || token.Claims["username"] != "ann" || time.Until(token.Expires) < 59*time.Minute {
		t.Errorf("access token %+v: %v", token.Claims, err)
	}
	if diff := cmp.Diff([]string{"openid"}, token.Scopes); diff != "" {
		t.Errorf("scopes (-want +got):\n%s", diff)
	}
	if status, out := p.trade(code, nil); status != http.StatusBadRequest || out["error"] != "invalid_grant" {
		t.Errorf("a code that is used: %d %v", status, out)
	}
}

func TestFormOfSomebodyElse(t *testing.T) {
	t.Parallel()
	p := startPages(t)
	browser := p.browser()
	form := p.open(browser, p.address(nil))
	for name, values := range map[string]url.Values{
		"no token":       {"username": {"ann"}, "password": {"right"}},
		"another token":  {"username": {"ann"}, "password": {"right"}, "_csrf": {"x"}},
		"a large form":   {"username": {"ann"}, "password": {"right"}, "_csrf": {strings.Repeat("x", 65<<10)}},
		"an empty token": {"username": {"ann"}, "password": {"right"}, "_csrf": {""}},
	} {
		if got := p.post(browser, form.address, values); got.status != http.StatusForbidden || got.location != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := p.submit(p.browser(), form, "ann", "right"); got.status != http.StatusForbidden {
		t.Errorf("without the cookie: %+v", got)
	}
}

func TestAuthorizeRefusals(t *testing.T) {
	t.Parallel()
	p := startPages(t)
	page := func(client, code string) string {
		return p.front.HostedUI(testpool.ID) + "/error?" + url.Values{"client_id": {client}, "error": {code}}.Encode()
	}
	for name, row := range map[string]struct {
		changes map[string]string
		want    string // address of the page, or query of the callback URL without the state
	}{
		"unknown client":           {map[string]string{"client_id": "x"}, page("x", "invalid_request")},
		"no client":                {map[string]string{"client_id": ""}, page("", "invalid_request")},
		"no users of the pool":     {map[string]string{"client_id": "federated"}, page("federated", "invalid_request")},
		"another port":             {map[string]string{"redirect_uri": "http://localhost:8977/callback"}, page(testpool.Client, "redirect_mismatch")},
		"another host":             {map[string]string{"redirect_uri": "http://127.0.0.1:8976/callback"}, page(testpool.Client, "redirect_mismatch")},
		"a slash more":             {map[string]string{"redirect_uri": callback + "/"}, page(testpool.Client, "redirect_mismatch")},
		"a query more":             {map[string]string{"redirect_uri": callback + "?x=1"}, page(testpool.Client, "redirect_mismatch")},
		"no redirect_uri":          {map[string]string{"redirect_uri": ""}, page(testpool.Client, "redirect_mismatch")},
		"another response":         {map[string]string{"response_type": "code token"}, "error=invalid_request"},
		"no response":              {map[string]string{"response_type": ""}, "error=invalid_request"},
		"tokens in the address":    {map[string]string{"response_type": "token"}, "error=unauthorized_client"},
		"client without code flow": {map[string]string{"client_id": "machine"}, "error=unauthorized_client"},
		"a scope of nobody's":      {map[string]string{"scope": "openid phone"}, "error=invalid_request&error_description=invalid_scope"},
		"plain challenge":          {map[string]string{"code_challenge_method": "plain"}, "error=invalid_request"},
		"challenge without method": {map[string]string{"code_challenge_method": ""}, "error=invalid_request"},
		"method without challenge": {map[string]string{"code_challenge": ""}, "error=invalid_request"},
	} {
		for _, address := range []string{p.address(row.changes), strings.Replace(p.address(row.changes), "/oauth2/authorize?", "/login?", 1)} {
			got := p.open(p.browser(), address)
			if strings.HasPrefix(row.want, "http") {
				if got.address != row.want || got.status != http.StatusBadRequest || got.location != nil {
					t.Errorf("%s: %+v, want %s", name, got, row.want)
				}
				continue
			}
			if got.location == nil || got.status != http.StatusFound {
				t.Errorf("%s: %+v", name, got)
				continue
			}
			query := got.location.Query()
			if state := query.Get("state"); state != `s"&<1` {
				t.Errorf("%s: state %q", name, state)
			}
			query.Del("state")
			if !strings.HasPrefix(got.location.String(), callback+"?") || query.Encode() != row.want {
				t.Errorf("%s: %s, want %s", name, got.location, row.want)
			}
		}
	}
	if got := p.open(p.browser(), p.front.HostedUI(testpool.ID)+"/error?error=%3Cscript%3E"); got.status != http.StatusBadRequest || strings.Contains(got.body, "<script>") {
		t.Errorf("the page of an error: %+v", got)
	}
	// A callback URL with parameters of its own keeps them.
	got := p.open(p.browser(), p.address(map[string]string{"redirect_uri": "https://example.com/back?tab=1", "response_type": "x", "state": ""}))
	if got.location == nil || got.location.String() != "https://example.com/back?tab=1&error=invalid_request" {
		t.Errorf("sent to %v", got.location)
	}
}

func TestTradeOfACode(t *testing.T) {
	t.Parallel()
	p := startPages(t)
	for name, row := range map[string]struct {
		asked, traded map[string]string
		want          string // error
		stays         bool   // the code is still good
	}{
		"as it should be":                {nil, nil, "", false},
		"without PKCE":                   {map[string]string{"code_challenge": "", "code_challenge_method": ""}, map[string]string{"code_verifier": ""}, "", false},
		"no code":                        {nil, map[string]string{"code": ""}, "invalid_request", true},
		"no redirect_uri":                {nil, map[string]string{"redirect_uri": ""}, "invalid_request", true},
		"no grant":                       {nil, map[string]string{"grant_type": ""}, "invalid_request", true},
		"another grant":                  {nil, map[string]string{"grant_type": "password"}, "unsupported_grant_type", true},
		"an unknown client":              {nil, map[string]string{"client_id": "x"}, "invalid_client", true},
		"no client":                      {nil, map[string]string{"client_id": ""}, "invalid_client", true},
		"a secret that the client lacks": {nil, map[string]string{"client_secret": "x"}, "invalid_client", true},
		"a client without its secret":    {nil, map[string]string{"client_id": "confidential"}, "invalid_client", true},
		"another code":                   {nil, map[string]string{"code": "x"}, "invalid_grant", true},
		"another client":                 {nil, map[string]string{"client_id": "other"}, "invalid_grant", false},
		"a client without code flow":     {nil, map[string]string{"client_id": "machine"}, "unauthorized_client", false},
		"another callback URL of it":     {nil, map[string]string{"redirect_uri": "https://example.com/back?tab=1"}, "invalid_grant", false},
		"a callback URL of nobody's":     {nil, map[string]string{"redirect_uri": callback + "/"}, "unauthorized_client", false},
		"another verifier":               {nil, map[string]string{"code_verifier": verifier + "x"}, "invalid_grant", false},
		"the challenge for a verifier":   {nil, map[string]string{"code_verifier": challenge(verifier)}, "invalid_grant", false},
		"no verifier":                    {nil, map[string]string{"code_verifier": ""}, "invalid_grant", false},
		"a verifier without a challenge": {map[string]string{"code_challenge": "", "code_challenge_method": ""}, nil, "invalid_grant", false},
	} {
		code := p.code(row.asked)
		status, out := p.trade(code, row.traded)
		if row.want == "" {
			if status != http.StatusOK || out["access_token"] == nil {
				t.Errorf("%s: %d %v", name, status, out)
			}
		} else if status != http.StatusBadRequest || out["error"] != row.want || len(out) != 1 {
			t.Errorf("%s: %d %v, want %s", name, status, out, row.want)
		}
		if status, out := p.trade(code, nil); (status == http.StatusOK) != row.stays {
			t.Errorf("%s: the same code again: %d %v", name, status, out)
		}
	}

	// Without openid there is no ID token; without scopes all of the client's are granted.
	if _, out := p.trade(p.code(map[string]string{"scope": "email"}), nil); out["id_token"] != nil || out["access_token"] == nil {
		t.Errorf("for scope email: %v", out)
	}
	_, out := p.trade(p.code(map[string]string{"scope": ""}), nil)
	access, _ := out["access_token"].(string)
	token, err := authorizer(t, *testpool.Authorizer(p.front), http.DefaultClient).Check(t.Context(), access)
	if diff := cmp.Diff([]string{"openid", "email"}, token.Scopes); err != nil || diff != "" {
		t.Errorf("%v, scopes (-want +got):\n%s", err, diff)
	}
}

func TestCodeExpires(t *testing.T) {
	t.Parallel()
	p := startPages(t)
	early, late := p.code(nil), p.code(nil)
	p.ahead.Store(int64(5*time.Minute - time.Second))
	if status, out := p.trade(early, nil); status != http.StatusOK {
		t.Errorf("shortly before: %d %v", status, out)
	}
	p.ahead.Store(int64(5 * time.Minute))
	if status, out := p.trade(late, nil); status != http.StatusBadRequest || out["error"] != "invalid_grant" {
		t.Errorf("after five minutes: %d %v", status, out)
	}
}

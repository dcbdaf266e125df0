package oidc

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The pages of a pool's domain, of which moto has none:
//
//	GET  /{pool}/oauth2/authorize   302 to /{pool}/login with the same parameters
//	GET  /{pool}/login              a form; POST with the right password: 302 to <redirect_uri>?code=...&state=...
//	GET  /{pool}/error              400, for a request that may not be sent back to a client
//
// A request whose app client and callback URL are right is refused by 302 to <redirect_uri>?error=...&state=...
// moto checks the password. Its answer waits with the code until the code is traded, once, for tokens: the access token is
// moto's with the claims of a code's, under the front's key. There is no session: each sign-in asks for the password. There
// are no pages for challenges either.
//
// https://docs.aws.amazon.com/cognito/latest/developerguide/authorization-endpoint.html
// https://docs.aws.amazon.com/cognito/latest/developerguide/login-endpoint.html

const (
	// codeLife is how long a code can be traded, as the authorization endpoint's page documents it.
	codeLife = 5 * time.Minute
	// maxForm bounds the bytes of a form.
	maxForm = 64 << 10
)

// HostedUI is the front's own address of what a pool's domain serves.
func (f *Front) HostedUI(poolID string) string { return f.URL + "/" + poolID }

// private keeps answers out of caches and frames, and what is in their address out of the next site's log.
func private(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
		} {
			w.Header().Set(name, value)
		}
		next(w, r)
	}
}

// authorization is an authorization request that the app client may make.
type authorization struct {
	client      Client
	redirectURI string
	state       string
	challenge   string // S256; "" without PKCE
	scopes      []string
}

// authorization reads a request. If refused is not "", that is where to send the browser instead.
func (f *Front) authorization(ctx context.Context, pool string, query url.Values) (a authorization, refused string, err error) {
	client, found, err := f.findClient(ctx, pool, query.Get("client_id"))
	if err != nil {
		return a, "", err
	}
	page := func(code string) (authorization, string, error) {
		return a, f.HostedUI(pool) + "/error?" + url.Values{"error": {code}, "client_id": {query.Get("client_id")}}.Encode(), nil
	}
	if !found || !slices.Contains(client.Providers, "COGNITO") {
		return page("invalid_request")
	}
	a = authorization{client: client, redirectURI: query.Get("redirect_uri"), state: query.Get("state"), challenge: query.Get("code_challenge")}
	if !slices.Contains(client.CallbackURLs, a.redirectURI) {
		return page("redirect_mismatch")
	}
	callback := func(values url.Values) (authorization, string, error) { return a, a.callback(values), nil }
	response, method := query.Get("response_type"), query.Get("code_challenge_method")
	if response != "code" && response != "token" || a.challenge != "" && method != "S256" || a.challenge == "" && method != "" {
		return callback(url.Values{"error": {"invalid_request"}})
	}
	if response != "code" || !slices.Contains(client.Flows, "code") { // no client here may have tokens without a code
		return callback(url.Values{"error": {"unauthorized_client"}})
	}
	var ok bool
	if a.scopes, ok = client.scopes(query.Get("scope")); !ok {
		return callback(url.Values{"error": {"invalid_request"}, "error_description": {"invalid_scope"}})
	}
	return a, "", nil
}

// callback is the callback URL with values and the state added to its own parameters.
func (a authorization) callback(values url.Values) string {
	if a.state != "" {
		values.Set("state", a.state)
	}
	separator := "?"
	if strings.Contains(a.redirectURI, "?") {
		separator = "&"
	}
	return a.redirectURI + separator + values.Encode()
}

func (f *Front) authorize(w http.ResponseWriter, r *http.Request) {
	if _, ok := f.allowed(w, r); ok {
		http.Redirect(w, r, f.HostedUI(r.PathValue("pool"))+"/login?"+r.URL.RawQuery, http.StatusFound)
	}
}

// allowed returns the authorization request of r, or has answered it.
func (f *Front) allowed(w http.ResponseWriter, r *http.Request) (authorization, bool) {
	a, refused, err := f.authorization(r.Context(), r.PathValue("pool"), r.URL.Query())
	switch {
	case err != nil:
		http.Error(w, "app client: "+err.Error(), http.StatusBadGateway)
	case refused != "":
		http.Redirect(w, r, refused, http.StatusFound)
	default:
		return a, true
	}
	return authorization{}, false
}

// csrfCookie holds what the form must hold too: a form of somebody else's does not.
const csrfCookie = "XSRF-TOKEN"

func (f *Front) login(w http.ResponseWriter, r *http.Request) {
	a, ok := f.allowed(w, r)
	if !ok {
		return
	}
	form := struct{ Pool, CSRF, Username, Sentence string }{Pool: r.PathValue("pool"), CSRF: rand.Text()}
	cookie, err := r.Cookie(csrfCookie)
	if err == nil {
		form.CSRF = cookie.Value // another tab may show the form
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err != nil || r.ParseForm() != nil || subtle.ConstantTimeCompare([]byte(form.CSRF), []byte(r.PostForm.Get("_csrf"))) != 1 {
			http.Error(w, "This form is not from the sign-in page. Open the page again.", http.StatusForbidden)
			return
		}
		form.Username = r.PostForm.Get("username")
		var tokens tokens
		tokens, form.Sentence, err = f.signIn(r.Context(), a.client.ID, form.Username, r.PostForm.Get("password"))
		if err != nil {
			http.Error(w, "sign in: "+err.Error(), http.StatusBadGateway)
			return
		}
		if form.Sentence == "" {
			http.Redirect(w, r, a.callback(url.Values{"code": {f.issue(grant{a, tokens, f.config.Now().Add(codeLife)})}}), http.StatusFound)
			return
		}
	}
	http.SetCookie(w, &http.Cookie{Name: csrfCookie, Value: form.CSRF, Path: "/" + form.Pool + "/login", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	writePage(w, http.StatusOK, loginPage, form)
}

func (f *Front) errorPage(w http.ResponseWriter, r *http.Request) {
	writePage(w, http.StatusBadRequest, failedPage, r.URL.Query().Get("error"))
}

var (
	loginPage = template.Must(template.New("login").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign in</title></head>
<body>
<h1>Sign in</h1>
<p>User pool {{.Pool}} of the local platform.</p>
{{with .Sentence}}<p role="alert">{{.}}</p>
{{end}}<form method="post">
<input type="hidden" name="_csrf" value="{{.CSRF}}">
<p><label>Username <input name="username" value="{{.Username}}" autocomplete="username" required autofocus></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button>Sign in</button></p>
</form>
</body>
</html>
`))
	failedPage = template.Must(template.New("error").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Error</title></head>
<body>
<h1>An error was encountered with the requested page.</h1>
<p>{{.}}</p>
</body>
</html>
`))
)

func writePage(w http.ResponseWriter, status int, page *template.Template, data any) {
	var body bytes.Buffer
	if err := page.Execute(&body, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.Copy(w, &body) // the browser may be gone
}

// tokens is what InitiateAuth answers.
type tokens struct {
	Access    string `json:"AccessToken"`
	ID        string `json:"IdToken"`
	Refresh   string `json:"RefreshToken"`
	ExpiresIn int    // seconds
}

// wrongPassword is said of an unknown user as well, as with PreventUserExistenceErrors.
const wrongPassword = "Incorrect username or password."

// signIn asks moto. sentence is what the form says if the person is not signed in.
func (f *Front) signIn(ctx context.Context, clientID, username, password string) (got tokens, sentence string, err error) {
	body, err := json.Marshal(map[string]any{
		"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": clientID,
		"AuthParameters": map[string]string{"USERNAME": username, "PASSWORD": password},
	})
	if err != nil {
		return got, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.config.Upstream+"/", bytes.NewReader(body))
	if err != nil {
		return got, "", err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService.InitiateAuth")
	resp, err := f.client.Do(req)
	if err != nil {
		return got, "", err
	}
	defer resp.Body.Close()
	var out struct {
		Type                 string `json:"__type"` // of an error
		Message              string `json:"message"`
		ChallengeName        string
		AuthenticationResult tokens
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out); err != nil {
		return got, "", fmt.Errorf("InitiateAuth: %s: %w", resp.Status, err)
	}
	switch {
	case out.Type == "UserNotFoundException":
		return got, wrongPassword, nil
	case out.Type != "":
		return got, out.Message, nil
	case out.ChallengeName != "":
		return got, "There is no page here for " + out.ChallengeName + ". Sign in with: centralops login", nil
	case out.AuthenticationResult.Access == "":
		return got, "", errors.New("InitiateAuth: " + resp.Status + ": no tokens")
	}
	return out.AuthenticationResult, "", nil
}

// grant is what a code stands for.
type grant struct {
	authorization
	tokens
	expires time.Time
}

// issue keeps g and returns its code.
func (f *Front) issue(g grant) string {
	code := rand.Text()
	f.mu.Lock()
	defer f.mu.Unlock()
	for old, kept := range f.codes {
		if f.config.Now().After(kept.expires) {
			delete(f.codes, old)
		}
	}
	f.codes[code] = g
	return code
}

// take returns what code stands for, once.
func (f *Front) take(code string) (grant, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, found := f.codes[code]
	delete(f.codes, code)
	return g, found && f.config.Now().Before(g.expires)
}

// redeem answers grant_type=authorization_code.
func (f *Front) redeem(w http.ResponseWriter, form url.Values, client Client) {
	code, redirectURI, verifier := form.Get("code"), form.Get("redirect_uri"), form.Get("code_verifier")
	if code == "" || redirectURI == "" {
		oauthError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	g, found := f.take(code)
	if !slices.Contains(client.Flows, "code") || !slices.Contains(client.CallbackURLs, redirectURI) {
		oauthError(w, http.StatusBadRequest, "unauthorized_client")
		return
	}
	challenge := ""
	if verifier != "" {
		sum := sha256.Sum256([]byte(verifier))
		challenge = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if !found || g.client.PoolID != client.PoolID || g.client.ID != client.ID || g.redirectURI != redirectURI ||
		subtle.ConstantTimeCompare([]byte(challenge), []byte(g.challenge)) != 1 {
		oauthError(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	access, err := f.scoped(g)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer := map[string]any{"access_token": access, "refresh_token": g.Refresh, "expires_in": g.ExpiresIn, "token_type": "Bearer"}
	if slices.Contains(g.scopes, "openid") {
		answer["id_token"] = g.ID
	}
	writeJSON(w, http.StatusOK, answer)
}

// scoped is moto's access token as the code's: with the scopes, and good from now on.
func (f *Front) scoped(g grant) (string, error) {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(g.Access, claims); err != nil {
		return "", fmt.Errorf("access token of InitiateAuth: %w", err)
	}
	now := f.config.Now()
	claims["scope"], claims["version"], claims["jti"] = strings.Join(g.scopes, " "), 2, rand.Text()
	claims["iat"], claims["exp"] = now.Unix(), now.Add(time.Duration(g.ExpiresIn)*time.Second).Unix()
	return f.Sign(claims)
}

package cognito

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
)

// callbackPath is where the browser comes back to. Cognito compares the whole address with those of
// the app client, port and path too, and allows http for localhost only.
// https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-app-idp-settings.html
const callbackPath = "/callback"

// SignInWithBrowser signs in through the pool's web pages at hostedUI: authorization code with PKCE
// (RFC 7636), the code sent to http://localhost:<port>/callback, where only this machine can
// listen (RFC 8252). open is called with the address to visit. Port 0 takes a free one, for pools
// that do not compare it.
func (p *Pool) SignInWithBrowser(ctx context.Context, hostedUI string, port int, open func(address string)) (centralops.Tokens, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return centralops.Tokens{}, fault(centralops.Unavailable, "can't wait for the browser: "+err.Error(),
			"--callback-port with another port that the app client allows")
	}
	redirect := fmt.Sprintf("http://localhost:%d%s", listener.Addr().(*net.TCPAddr).Port, callbackPath)
	state, verifier := rand.Text(), rand.Text()+rand.Text() // RFC 7636 wants 43 to 128 characters
	challenge := sha256.Sum256([]byte(verifier))

	back := &callback{redirect: redirect, state: state, codes: make(chan codeOrError, 1)}
	server := &http.Server{Handler: back, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // lets the browser have its page
		defer cancel()
		server.Shutdown(ctx)
		<-served
	}()

	address := hostedUI + "/oauth2/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {p.ClientID}, "redirect_uri": {redirect}, "scope": {"openid"}, "state": {state},
		"code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}.Encode()
	if err := p.refusedAtOnce(ctx, hostedUI, address, redirect); err != nil {
		return centralops.Tokens{}, err
	}
	open(address)

	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return centralops.Tokens{}, bearer.TransportError("sign in", hostedUI, ctx.Err())
		}
		return centralops.Tokens{}, fault(centralops.Timeout, "the browser did not come back in time", "centralops login --browser --timeout 10m")
	case came := <-back.codes:
		if came.err != nil {
			return centralops.Tokens{}, came.err
		}
		return p.exchange(ctx, hostedUI, came.code, redirect, verifier)
	}
}

// refusedAtOnce asks for the page as the browser will, and returns why the pool refuses to show it. A browser that is sent to
// the pool's page of errors never comes back here: nobody would be told, until the time is over. Whatever is no refusal is left
// to the browser.
func (p *Pool) refusedAtOnce(ctx context.Context, hostedUI, address, redirect string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := p.HTTP.Do(req)
	if err != nil {
		var known *centralops.Error
		if err = bearer.TransportError(Op, hostedUI, err); errors.As(err, &known) && known.Hint != "" {
			known.Hint = "centralops configure, to check hosted_ui"
		}
		return err
	}
	resp.Body.Close()
	if to, err := resp.Location(); err == nil && to.Query().Get("error") != "" {
		return refusedByPages(to.Query(), redirect)
	}
	return nil
}

// pageHints is what to do about an error, or its description, of the pool's pages.
// https://docs.aws.amazon.com/cognito/latest/developerguide/authorization-endpoint.html
var pageHints = map[string]string{
	"redirect_mismatch":   "--callback-port with a port that the app client allows; the operator: central-ops:callbackUrls",
	"unauthorized_client": "centralops login, with user name and password; the operator: allow the app client the code flow",
	"invalid_scope":       "centralops login, with user name and password; the operator: allow the app client the scope openid",
	"invalid_request":     "centralops configure, to check client_id and hosted_ui",
}

// refusedByPages returns the error that the pool's pages put into an address.
func refusedByPages(query url.Values, redirect string) error {
	code, description := query.Get("error"), query.Get("error_description")
	message := "the user pool reports: " + strings.TrimSpace(code+" "+description)
	if code == "redirect_mismatch" {
		message = "the user pool's app client does not allow " + redirect + " (redirect_mismatch)"
	}
	hint := pageHints[description]
	if hint == "" {
		hint = pageHints[code]
	}
	if hint == "" {
		hint = "centralops login --browser"
	}
	return fault(centralops.Unauthenticated, message, hint)
}

type codeOrError struct {
	code string
	err  error
}

// callback takes the browser's return. Only the first with the right state counts.
type callback struct {
	redirect string
	state    string
	codes    chan codeOrError
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	// A page of somebody else's can send the browser here, but does not know the state.
	if r.URL.Path != callbackPath || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(c.state)) != 1 {
		http.NotFound(w, r)
		return
	}
	came := codeOrError{code: query.Get("code")}
	text := "You are signed in. You can close this page and go back to the terminal."
	if came.code == "" {
		came.err = refusedByPages(query, c.redirect)
		text = "The sign-in failed. The terminal says why."
	}
	select {
	case c.codes <- came:
	default: // the browser came twice
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, text+"\n")
}

// exchange trades the code for tokens.
// https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html
func (p *Pool) exchange(ctx context.Context, hostedUI, code, redirect, verifier string) (centralops.Tokens, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {p.ClientID}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hostedUI+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return centralops.Tokens{}, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.HTTP.Do(req)
	if err != nil {
		return centralops.Tokens{}, unanswered(hostedUI, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return centralops.Tokens{}, unanswered(hostedUI, err)
	}
	var body struct {
		Error        string `json:"error"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int    `json:"expires_in"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return centralops.Tokens{}, fault(centralops.Unavailable, fmt.Sprintf("%s answered %d and no JSON", hostedUI, resp.StatusCode), "centralops configure, to check hosted_ui")
	}
	if body.Error != "" || resp.StatusCode != http.StatusOK {
		return centralops.Tokens{}, fault(centralops.Unauthenticated, fmt.Sprintf("the user pool refused the code: %d %s", resp.StatusCode, body.Error), "centralops login --browser")
	}
	return p.tokens(result{AuthenticationResult: &authenticated{body.AccessToken, body.RefreshToken, body.ExpiresIn}}, "")
}

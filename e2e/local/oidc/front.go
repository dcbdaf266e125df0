package oidc

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
)

// Assumptions are the rows of this package.
var Assumptions = []assumed.Row{
	{
		ID:     "jwt-any-scope",
		Where:  "oidc.Authorizer",
		Assume: "a token passes allowedScopes if it has one of them, not all",
		Source: "documented now; older text and third parties say all",
		Check:  "allow two scopes, send a token with one",
	},
	{
		ID:     "jwt-keys-refetched",
		Where:  "oidc.Authorizer",
		Assume: "a token that names an unknown key makes AgentCore fetch the key set again at once",
		Source: "inferred; AWS documents no caching",
		Check:  "not observable without rotating a pool's keys",
	},
	{
		ID:     "cognito-m2m-shape",
		Where:  "oidc.Front",
		Assume: "a client-credentials token has sub = client_id, token_use access, scope, version 2 and no username or groups",
		Source: "documented: Cognito developer guide, \"Understanding the access token\"",
		Check:  "decode a token of a confidential client",
	},
}

// FrontConfig says where the pools are.
type FrontConfig struct {
	// Upstream is moto's URL; it serves /<pool id>/.well-known/jwks.json.
	Upstream string
	// Clients finds the app clients that may ask for client-credentials tokens; nil means that there are none.
	Clients ClientSource
	// Now is the clock of the tokens that the front signs; nil means time.Now.
	Now func() time.Time
}

// ClientSource looks up app clients of a pool.
type ClientSource interface {
	// Client returns the app client, or false if the pool has none of that id.
	Client(ctx context.Context, poolID, clientID string) (Client, bool, error)
}

// Client is a confidential app client.
type Client struct {
	PoolID string
	ID     string
	Secret string
	Scopes []string // AllowedOAuthScopes
	Flows  []string // AllowedOAuthFlows; client_credentials must be among them
}

// Clients is a ClientSource that does not change.
type Clients []Client

// Client never fails.
func (c Clients) Client(_ context.Context, poolID, clientID string) (Client, bool, error) {
	i := slices.IndexFunc(c, func(client Client) bool { return client.PoolID == poolID && client.ID == clientID })
	if i < 0 {
		return Client{}, false, nil
	}
	return c[i], true, nil
}

// Front serves what Cognito publishes for each pool, and adds a key of its own to the pool's key set: with it the
// token endpoint and tests sign, as moto has no token endpoint and keeps its key to itself.
//
//	GET  /{pool}/.well-known/openid-configuration
//	GET  /{pool}/.well-known/jwks.json   moto's keys and the front's
//	POST /{pool}/oauth2/token            grant_type=client_credentials, client secret by Basic or in the form
//
// All methods may be called concurrently.
type Front struct {
	*loopback.Server

	config FrontConfig
	client *http.Client

	mu     sync.Mutex
	keys   []key // published; the last one signs
	hidden bool  // moto's keys are not published
	outage bool
	serial int
}

type key struct {
	id      string
	private *rsa.PrivateKey
}

// StartFront starts the front on a free port.
func StartFront(config FrontConfig) (*Front, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	f := &Front{config: config, client: &http.Client{Timeout: 10 * time.Second}}
	if err := f.Rotate(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{pool}/.well-known/openid-configuration", f.discovery)
	mux.HandleFunc("GET /{pool}/.well-known/jwks.json", f.jwks)
	mux.HandleFunc("POST /{pool}/oauth2/token", f.token)
	server, err := loopback.Serve(f.available(mux))
	if err != nil {
		return nil, err
	}
	f.Server = server
	return f, nil
}

// Issuer is the iss claim of a pool's tokens; "" if poolID does not look like one.
func Issuer(poolID string) string {
	region, _, found := strings.Cut(poolID, "_")
	if !found || !poolPattern.MatchString(poolID) {
		return ""
	}
	return "https://cognito-idp." + region + ".amazonaws.com/" + poolID
}

var poolPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]_[0-9A-Za-z]{1,55}$`)

// DiscoveryURL is the front's own address of a pool's discovery document.
func (f *Front) DiscoveryURL(poolID string) string { return f.URL + "/" + poolID + discoverySuffix }

// JWKSURL is the front's own address of a pool's key set.
func (f *Front) JWKSURL(poolID string) string { return f.URL + "/" + poolID + "/.well-known/jwks.json" }

// TokenURL is the front's own address of a pool's token endpoint.
func (f *Front) TokenURL(poolID string) string { return f.URL + "/" + poolID + "/oauth2/token" }

// Transport sends requests for Cognito's own host names to the front, and refuses every other host that is not
// loopback, so that an authorizer may be configured with the discovery URL that it would have on AWS.
func (f *Front) Transport() http.RoundTripper { return redirect{f} }

type redirect struct{ front *Front }

var cognitoHost = regexp.MustCompile(`^cognito-idp\.[a-z0-9-]+\.amazonaws\.com$`)

func (t redirect) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == "127.0.0.1" {
		return http.DefaultTransport.RoundTrip(r)
	}
	if !cognitoHost.MatchString(r.URL.Hostname()) {
		return nil, fmt.Errorf("%s is neither on this machine nor Cognito", r.URL.Host)
	}
	to, err := url.Parse(t.front.URL)
	if err != nil {
		return nil, err
	}
	clone := r.Clone(r.Context())
	clone.Host = r.URL.Host
	clone.URL.Scheme, clone.URL.Host = to.Scheme, to.Host
	return http.DefaultTransport.RoundTrip(clone)
}

// SetOutage makes every request fail with 503 until it is called with false.
func (f *Front) SetOutage(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outage = down
}

// Rotate publishes a new signing key and goes on publishing the old ones, as Cognito does.
func (f *Front) Rotate() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serial++
	f.keys = append(f.keys, key{id: fmt.Sprintf("central-ops-local-%d", f.serial), private: private})
	return nil
}

// RetireOldKeys withdraws all keys but the newest, moto's included.
func (f *Front) RetireOldKeys() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys, f.hidden = f.keys[len(f.keys)-1:], true
}

// Sign returns a token with the given claims under the newest key, valid or not as the claims have it.
func (f *Front) Sign(claims map[string]any) (string, error) {
	f.mu.Lock()
	k := f.keys[len(f.keys)-1]
	f.mu.Unlock()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	token.Header["kid"] = k.id
	return token.SignedString(k.private)
}

func (f *Front) available(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		outage := f.outage
		f.mu.Unlock()
		if outage {
			http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (f *Front) discovery(w http.ResponseWriter, r *http.Request) {
	pool := r.PathValue("pool")
	issuer := Issuer(pool)
	if issuer == "" {
		poolNotFound(w, pool)
		return
	}
	base := f.URL + "/" + pool
	jwks := base
	if cognitoHost.MatchString(r.Host) {
		jwks = "https://" + r.Host + "/" + pool
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              jwks + "/.well-known/jwks.json",
		"token_endpoint":                        base + "/oauth2/token",
		"grant_types_supported":                 []string{"client_credentials"},
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

// jwk is a public key as Cognito publishes it.
type jwk struct {
	Alg string `json:"alg"`
	E   string `json:"e"`
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	N   string `json:"n"`
	Use string `json:"use"`
}

func (f *Front) jwks(w http.ResponseWriter, r *http.Request) {
	pool := r.PathValue("pool")
	if Issuer(pool) == "" {
		poolNotFound(w, pool)
		return
	}
	f.mu.Lock()
	keys, hidden := slices.Clone(f.keys), f.hidden
	f.mu.Unlock()
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if !hidden {
		if err := getJSON(r.Context(), f.client, f.config.Upstream+r.URL.Path, &set); err != nil {
			http.Error(w, "key set of the pool: "+err.Error(), http.StatusBadGateway)
			return
		}
	}
	for _, k := range keys {
		set.Keys = append(set.Keys, jwk{
			Alg: "RS256", Kid: k.id, Kty: "RSA", Use: "sig",
			N: base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
			E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
		})
	}
	writeJSON(w, http.StatusOK, set)
}

// tokenLife is Cognito's default life of an access token.
const tokenLife = time.Hour

// token answers as https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html.
func (f *Front) token(w http.ResponseWriter, r *http.Request) {
	pool := r.PathValue("pool")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		oauthError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		oauthError(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	var client Client
	found := false
	if f.config.Clients != nil {
		var err error
		if client, found, err = f.config.Clients.Client(r.Context(), pool, id); err != nil {
			http.Error(w, "app client: "+err.Error(), http.StatusBadGateway)
			return
		}
	}
	if !found || client.Secret == "" || client.Secret != secret {
		oauthError(w, http.StatusBadRequest, "invalid_client")
		return
	}
	if !slices.Contains(client.Flows, "client_credentials") {
		oauthError(w, http.StatusBadRequest, "unauthorized_client")
		return
	}
	scopes := strings.Fields(r.PostForm.Get("scope"))
	if len(scopes) == 0 {
		scopes = client.Scopes
	}
	for _, scope := range scopes {
		if !slices.Contains(client.Scopes, scope) {
			oauthError(w, http.StatusBadRequest, "invalid_scope")
			return
		}
	}
	now := f.config.Now()
	signed, err := f.Sign(map[string]any{
		"iss": Issuer(pool), "sub": id, "client_id": id, "token_use": "access", "version": 2,
		"scope": strings.Join(scopes, " "), "jti": rand.Text(),
		"iat": now.Unix(), "auth_time": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": signed, "expires_in": int(tokenLife.Seconds()), "token_type": "Bearer",
	})
}

func oauthError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}

func poolNotFound(w http.ResponseWriter, pool string) {
	writeJSON(w, http.StatusNotFound, map[string]string{"message": "User pool " + pool + " does not exist."})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(value); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.Copy(w, &body) // the client may be gone
}

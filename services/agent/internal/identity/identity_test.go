package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/golang-jwt/jwt/v5"
)

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSubject(t *testing.T) {
	t.Parallel()
	key, foreign := newKey(t), newKey(t)
	var down atomic.Bool
	down.Store(true)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() || r.URL.Path != "/pool/.well-known/jwks.json" {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	}))
	defer issuer.Close()
	config := Config{Issuer: issuer.URL + "/pool", ClientIDs: []string{"client"}, JWKSURL: issuer.URL + "/pool/.well-known/jwks.json"}
	verifying, reading := New(config), New(Config{})

	token := func(signer *rsa.PrivateKey, change jwt.MapClaims) string {
		claims := jwt.MapClaims{"sub": "alice", "iss": config.Issuer, "client_id": "client", "token_use": "access", "exp": time.Now().Add(time.Hour).Unix()}
		for name, value := range change {
			claims[name] = value
		}
		unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		unsigned.Header["kid"] = "k1"
		signed, err := unsigned.SignedString(signer)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	check := func(name string, verifier *Verifier, token string, want agent.Code) {
		t.Helper()
		subject, _, err := verifier.Subject(t.Context(), token)
		var failure *agent.Error
		switch {
		case want == "" && (err != nil || subject != "alice"):
			t.Errorf("%s: %q, %v; want alice", name, subject, err)
		case want != "" && (!errors.As(err, &failure) || failure.Code != want || failure.Hint == ""):
			t.Errorf("%s: %v; want %s with a hint", name, err, want)
		case err != nil && token != "" && strings.Contains(err.Error(), token):
			t.Errorf("%s: the error holds the token", name)
		}
	}

	check("keys unreachable", verifying, token(key, nil), agent.CodeUnavailable)
	down.Store(false)
	check("valid", verifying, token(key, nil), "")
	check("another key", verifying, token(foreign, nil), agent.CodeUnauthenticated)
	check("another issuer", verifying, token(key, jwt.MapClaims{"iss": "https://elsewhere.example"}), agent.CodeUnauthenticated)
	check("another client", verifying, token(key, jwt.MapClaims{"client_id": "other"}), agent.CodeUnauthenticated)
	check("ID token", verifying, token(key, jwt.MapClaims{"token_use": "id"}), agent.CodeUnauthenticated)
	check("expired", verifying, token(key, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), agent.CodeUnauthenticated)
	check("no expiry", verifying, token(key, jwt.MapClaims{"exp": nil}), agent.CodeUnauthenticated)
	none := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "alice", "iss": config.Issuer, "client_id": "client", "token_use": "access", "exp": time.Now().Add(time.Hour).Unix()})
	unsigned, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	check("alg none", verifying, unsigned, agent.CodeUnauthenticated)
	critical := jwt.NewWithClaims(jwt.SigningMethodRS256, none.Claims)
	critical.Header["kid"], critical.Header["crit"] = "k1", []string{"x"}
	signed, err := critical.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	check("an extension that must be understood", verifying, signed, agent.CodeUnauthenticated)

	check("read without verifying", reading, token(foreign, nil), "")
	check("expired, read only", reading, token(foreign, jwt.MapClaims{"exp": 1}), agent.CodeUnauthenticated)
	check("no subject", reading, token(key, jwt.MapClaims{"sub": ""}), agent.CodeUnauthenticated)
	check("no token", reading, "", agent.CodeUnauthenticated)
	check("no JWT", reading, "abc", agent.CodeUnauthenticated)
	check("endless", reading, strings.Repeat("a.", 20_000), agent.CodeUnauthenticated)
}

// A key set that takes as long as one does over the internet: a token of a key that is new in it is taken at once.
func TestRotatedKey(t *testing.T) {
	t.Parallel()
	keys := []*rsa.PrivateKey{newKey(t), newKey(t)}
	var published atomic.Int64
	published.Store(1)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(50 * time.Millisecond)
		var set []map[string]string
		for i, key := range keys[:published.Load()] {
			set = append(set, map[string]string{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": strconv.Itoa(i),
				"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": set})
	}))
	defer issuer.Close()
	verifier := New(Config{Issuer: issuer.URL, JWKSURL: issuer.URL})
	for i, key := range keys {
		published.Store(int64(i + 1))
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "alice", "iss": issuer.URL, "token_use": "access", "exp": time.Now().Add(time.Hour).Unix()})
		token.Header["kid"] = strconv.Itoa(i)
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := verifier.Subject(t.Context(), signed); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

// FuzzDecode holds that no token breaks the reader and no error repeats it.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "a.b.c", "..", "e30.e30.e30", "e30.eyJzdWIiOiJhIn0.c", "e30.eyJzdWIiOjF9.c", "e30.eyJleHAiOjFlOTl9.c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := decode(token); err != nil && len(token) > 40 && strings.Contains(err.Error(), token) {
			t.Errorf("the error holds the token: %v", err)
		}
	})
}

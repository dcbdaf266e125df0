package identity

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/central-ops/central-ops/services/bridge"
)

// pool is a user pool's JWKS whose keys can be changed and that can be out.
type pool struct {
	*httptest.Server
	kid     atomic.Value
	out     atomic.Bool
	fetches atomic.Int64
	key     *rsa.PrivateKey
}

func newPool(t *testing.T) *pool {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &pool{key: key}
	p.kid.Store("k1")
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *pool) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.fetches.Add(1)
	if p.out.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, `{"keys":[{"kty":"RSA","kid":%q,"alg":"RS256","use":"sig","e":%q,"n":%q}]}`, p.kid.Load(),
		base64.RawURLEncoding.EncodeToString(big.NewInt(int64(p.key.E)).Bytes()), base64.RawURLEncoding.EncodeToString(p.key.N.Bytes()))
}

// RoundTrip lets a client reach the pool without a connection, for which synctest would wait.
func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

func (p *pool) token(t *testing.T, kid string, headers ...string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": "https://pool", "client_id": "c", "token_use": "access", "sub": "s",
		"exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = kid
	for _, name := range headers {
		token.Header[name] = []string{"x"}
	}
	signed, err := token.SignedString(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestKeysRotateAndOutlastAnOutage(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	v := New(p.Client(), Config{Issuer: "https://pool", ClientIDs: []string{"c"}, JWKSURL: p.URL})
	p.out.Store(true)
	if _, err := v.Verify(t.Context(), p.token(t, "k1")); bridge.CodeOf(err) != bridge.Unavailable {
		t.Fatalf("without any key: %v", err)
	}
	p.out.Store(false)
	if person, err := v.Verify(t.Context(), p.token(t, "k1")); err != nil || person.Username != "s" {
		t.Fatalf("%+v, %v", person, err)
	}
	p.kid.Store("k2")
	if _, err := v.Verify(t.Context(), p.token(t, "k2")); err != nil {
		t.Errorf("at once after a rotation: %v", err)
	}
	if _, err := v.Verify(t.Context(), p.token(t, "k1")); bridge.CodeOf(err) != bridge.Unauthenticated {
		t.Errorf("a key that was taken out: %v", err)
	}
	fetches := p.fetches.Load()
	for range 20 {
		if _, err := v.Verify(t.Context(), p.token(t, "forged")); bridge.CodeOf(err) != bridge.Unauthenticated {
			t.Fatalf("unknown key: %v", err)
		}
	}
	if got := p.fetches.Load() - fetches; got > refetches {
		t.Errorf("forged key ids made for %d fetches", got)
	}
	p.out.Store(true)
	v.wanted = rate.NewLimiter(rate.Inf, 1) // as after ten seconds
	if _, err := v.Verify(t.Context(), p.token(t, "k2")); err != nil {
		t.Errorf("in an outage: %v", err)
	}
	if _, err := v.Verify(t.Context(), p.token(t, "k3")); bridge.CodeOf(err) != bridge.Unauthenticated {
		t.Errorf("in an outage, an unknown key: %v", err)
	}
}

// A token that was taken is remembered: not beyond its end, and not beyond the keys it was taken by.
func TestRememberedTokens(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	synctest.Test(t, func(t *testing.T) {
		v := New(&http.Client{Transport: p}, Config{Issuer: "https://pool", ClientIDs: []string{"c"}, JWKSURL: "https://pool/keys"})
		verify := func(token string) bridge.Code {
			person, err := v.Verify(t.Context(), token)
			if err != nil {
				return bridge.CodeOf(err)
			}
			if person.Subject != "s" {
				t.Errorf("the token is %+v", person)
			}
			return ""
		}
		token := p.token(t, "k1")
		altered := token[:len(token)-8] + strings.Repeat("A", 8)
		for range 2 {
			if code := verify(token); code != "" {
				t.Errorf("a good token: %s", code)
			}
			if code := verify(altered); code != bridge.Unauthenticated {
				t.Errorf("a signature altered: %q", code)
			}
		}
		time.Sleep(time.Hour - time.Second)
		if code := verify(token); code != "" {
			t.Errorf("a second before its end: %s", code)
		}
		time.Sleep(time.Second)
		if code := verify(token); code != bridge.Unauthenticated {
			t.Errorf("at its end: %q", code)
		}

		token = p.token(t, "k1")
		if code := verify(token); code != "" {
			t.Errorf("another good token: %s", code)
		}
		p.kid.Store("k2")
		if code := verify(p.token(t, "k2")); code != "" {
			t.Errorf("after a rotation: %s", code)
		}
		if code := verify(token); code != bridge.Unauthenticated {
			t.Errorf("by a key that was taken out: %q", code)
		}
		for i := range 2 * maxTaken {
			v.remember(digest{byte(i), byte(i >> 8)}, taken{}, v.reads)
		}
		if len(v.taken) > maxTaken {
			t.Errorf("%d tokens are remembered", len(v.taken))
		}
	})
}

// Keys that the pool has withdrawn are not taken for ever, though nobody comes with a newer one. An outage, or silence, doesn't matter.
func TestKeysGrowOld(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		v := New(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if silent.Load() {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return p.RoundTrip(r)
		})}, Config{Issuer: "https://pool", ClientIDs: []string{"c"}, JWKSURL: "https://pool/keys"})
		verify := func(token string, want bridge.Code, most time.Duration) {
			t.Helper()
			start := time.Now()
			_, err := v.Verify(t.Context(), token)
			code := bridge.Code("")
			if err != nil {
				code = bridge.CodeOf(err)
			}
			if took := time.Since(start); code != want || took > most {
				t.Errorf("code %q after %v, want %q: %v", code, took, want, err)
			}
		}
		verify(p.token(t, "k1"), "", 0)
		time.Sleep(keep / 2)
		token := p.token(t, "k1") // lives an hour from here
		verify(token, "", 0)
		p.out.Store(true)
		time.Sleep(keep/2 + time.Second)
		verify(token, "", 0)
		p.out.Store(false)
		silent.Store(true)
		time.Sleep(pause)
		verify(token, "", glance)
		verify(token, "", 0) // the second time nobody waits
		silent.Store(false)
		time.Sleep(patience + pause)
		fetches := p.fetches.Load()
		verify(token, "", 0)
		verify(token, "", 0)
		if n := p.fetches.Load() - fetches; n != 1 {
			t.Errorf("%d fetches of keys that have grown old, want 1", n)
		}
		p.kid.Store("k2") // the pool's only key is another one now
		time.Sleep(keep)
		verify(p.token(t, "k1"), bridge.Unauthenticated, 0)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCriticalHeadersAreRefused(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	v := New(p.Client(), Config{Issuer: "https://pool", ClientIDs: []string{"c"}, JWKSURL: p.URL})
	if _, err := v.Verify(t.Context(), p.token(t, "k1", "crit")); bridge.CodeOf(err) != bridge.Unauthenticated {
		t.Errorf("a token with an extension that must be understood: %v", err)
	}
	if _, err := v.Verify(t.Context(), p.token(t, "k1", "other")); err != nil {
		t.Errorf("a token with a header that need not be: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0.e30.AAAA")
	f.Add("a.b.c")
	f.Add(strings.Repeat("x", 9000))
	server := httptest.NewServer(http.NotFoundHandler())
	f.Cleanup(server.Close)
	v := New(server.Client(), Config{Issuer: "https://pool", ClientIDs: []string{"c"}, JWKSURL: server.URL})
	v.keys, v.wanted = map[string]any{}, rate.NewLimiter(0, 0) // no fetching
	f.Fuzz(func(t *testing.T, token string) {
		if person, err := v.Verify(t.Context(), token); err == nil {
			t.Errorf("%q is %+v", token, person)
		} else if len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Errorf("the error quotes the token: %v", err)
		}
	})
}

package identity

import (
	"bytes"
	"crypto/rsa"
	"io"
	"net/http"
	"testing"
)

// always answers every request with the same body.
type always []byte

func (a always) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(a))}, nil
}

// FuzzKeys holds that of a key set, whatever it is, only RSA keys are taken, and never an empty set.
func FuzzKeys(f *testing.F) {
	for _, set := range []string{
		`{"keys":[{"kid":"a","kty":"RSA","alg":"RS256","use":"sig","n":"u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7QkrmBL7jTKEn5u","e":"AQAB"}]}`,
		`{"keys":[{"kid":"a","kty":"oct","k":"c2VjcmV0"}]}`, `{"keys":[{"kid":"a","kty":"RSA","n":"","e":""}]}`, `{"keys":null}`, `[]`, `{"keys":[{"kid":"a","kty":"RSA","n":"AA","e":"AQAB","x5c":["AA=="]}]}`,
		`{"keys":[{"kid":"a","kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kid":"","kty":"RSA","n":"AQ","e":"AQ"}]}`,
	} {
		f.Add([]byte(set))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v := New(&http.Client{Transport: always(body)}, Config{JWKSURL: "https://pool.test/jwks.json"})
		keys, err := v.read(t.Context())
		if err == nil && len(keys) == 0 {
			t.Errorf("%q was taken for a key set", body)
		}
		for id, key := range keys {
			if _, ok := key.(*rsa.PublicKey); !ok || id == "" {
				t.Errorf("%q: key %q is a %T", body, id, key)
			}
		}
	})
}

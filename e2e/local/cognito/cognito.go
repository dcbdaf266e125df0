// Package cognito is the local platform's Cognito user pools endpoint: moto, with what moto lacks.
//
// Everything is passed on to moto but one operation. RevokeToken, which `centralops logout` calls, is not known to moto;
// here it makes the refresh token useless, as in Cognito:
//
//	POST /  X-Amz-Target: AWSCognitoIdentityProviderService.RevokeToken {"Token","ClientId"}   200 {}
//	POST /  ...InitiateAuth with REFRESH_TOKEN_AUTH and that token     400 NotAuthorizedException
//
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_RevokeToken.html
package cognito

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// maxBody bounds a request; sign-in requests are a few KB.
const maxBody = 1 << 20

// Front is the endpoint, an http.Handler that is safe for concurrent use.
type Front struct {
	moto *httputil.ReverseProxy

	mu      sync.Mutex
	revoked map[string]bool // refresh tokens
}

// New returns a Front before the moto server at upstream.
func New(upstream string) (*Front, error) {
	target, err := url.Parse(upstream)
	if err != nil {
		return nil, fmt.Errorf("cognito: moto's address: %w", err)
	}
	return &Front{
		moto:    &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }},
		revoked: map[string]bool{},
	}, nil
}

// ServeHTTP answers one request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, "SerializationException", "The request could not be read.")
		return
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var request struct {
		Token          string
		ClientID       string `json:"ClientId"`
		AuthFlow       string
		AuthParameters map[string]string
	}
	_ = json.Unmarshal(body, &request) // what is not JSON is refused below, or by moto
	switch {
	case operation == "RevokeToken":
		if request.Token == "" || request.ClientID == "" {
			refuse(w, "InvalidParameterException", "Token and ClientId are required.")
			return
		}
		f.mu.Lock()
		f.revoked[request.Token] = true
		f.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, "{}") // the client is gone if this fails
		return
	case operation == "InitiateAuth" && f.isRevoked(request.AuthParameters["REFRESH_TOKEN"]):
		refuse(w, "NotAuthorizedException", "Refresh Token has been revoked")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.moto.ServeHTTP(w, r)
}

func (f *Front) isRevoked(token string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revoked[token]
}

// refuse answers an error as Cognito does.
func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message}) // the client is gone if this fails
}

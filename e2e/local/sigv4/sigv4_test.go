package sigv4_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func credential() issued.Credential {
	return issued.Credential{
		AccessKeyID: "ASIAVECTOR0000000000", SecretAccessKey: "secret/for+tests", SessionToken: "token//for+tests==",
		Account: "111111111111", Expires: now.Add(time.Hour),
	}
}

func store(c issued.Credential) *issued.Store {
	s := issued.New()
	s.Add(c)
	return s
}

// receive sends req through a real server and returns the verdict of Verify on what arrived.
func receive(t *testing.T, req *http.Request, service, region string, s *issued.Store, at time.Time) error {
	t.Helper()
	verdict := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = sigv4.Verify(r, body, service, region, s, at)
		}
		verdict <- err
	}))
	defer server.Close()
	// The request was signed for the host in req.Host; only the connection goes to the test server.
	if req.Host == "" {
		req.Host = req.URL.Host
	}
	req.URL.Host = strings.TrimPrefix(server.URL, "http://")
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	resp.Body.Close()
	return <-verdict
}

func code(err error) string {
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return "not a *sigv4.Error: " + err.Error()
	}
	return ""
}

// TestVerifyBotocore replays requests that botocore signed; testdata/sign.py made them.
func TestVerifyBotocore(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/botocore.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Requests []struct {
			Name, Service, Region, Method, URL, Body string
			Headers                                  map[string]string
		}
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Requests) == 0 {
		t.Fatal("testdata/botocore.json holds no request")
	}
	for _, v := range vectors.Requests {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			build := func() *http.Request {
				req, err := http.NewRequestWithContext(t.Context(), v.Method, v.URL, strings.NewReader(v.Body))
				if err != nil {
					t.Fatal(err)
				}
				for name, value := range v.Headers {
					req.Header.Set(name, value)
				}
				return req
			}
			if err := receive(t, build(), v.Service, v.Region, store(credential()), now); err != nil {
				t.Errorf("Verify refused what botocore signed: %v", err)
			}
			other := credential()
			other.SecretAccessKey += "x"
			if got := code(receive(t, build(), v.Service, v.Region, store(other), now)); got != sigv4.InvalidSignature {
				t.Errorf("with another secret: code = %q, want %q", got, sigv4.InvalidSignature)
			}
		})
	}
}

// sdkRequest returns a request signed by the Go SDK's signer at the given time.
func sdkRequest(t *testing.T, method, url, body, service string, at time.Time, c issued.Credential) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	if service == "s3" {
		req.Header.Set("X-Amz-Content-Sha256", hash)
	}
	creds := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	if err := signer.SignHTTP(context.Background(), creds, req, hash, service, "us-east-1", at); err != nil {
		t.Fatal(err)
	}
	return req
}

func TestVerifyGoSDK(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, service, method, url, body string }{
		{"form", "sts", "POST", "http://sts.local/", "Action=AssumeRole"},
		{"mcp", "aws-mcp", "POST", "http://aws-mcp.local:8443/mcp", `{"jsonrpc":"2.0"}`},
		{"no body", "aws-mcp", "DELETE", "http://aws-mcp.local/mcp", ""},
		{"no path", "sts", "GET", "http://sts.local?Action=GetCallerIdentity&Version=2011-06-15", ""},
		{"escaped path", "lambda", "POST", "http://lambda.local/functions/arn%3Aaws%3Alambda/invocations?b=2&a=x%20y", "{}"},
		{"s3 key", "s3", "PUT", "http://s3.local/bucket/a%20b//c", "data"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			req := sdkRequest(t, tc.method, tc.url, tc.body, tc.service, now, credential())
			if err := receive(t, req, tc.service, "us-east-1", store(credential()), now); err != nil {
				t.Errorf("Verify refused what the Go SDK signed: %v", err)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	replaceAuth := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			before := r.Header.Get("Authorization")
			after := strings.Replace(before, old, new, 1)
			if before == after {
				panic("nothing replaced in " + before)
			}
			r.Header.Set("Authorization", after)
		}
	}
	setBody := func(body string) func(*http.Request) {
		return func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
	}
	for _, tc := range []struct {
		name     string
		at       time.Time
		store    func(*issued.Credential)
		tamper   func(*http.Request)
		wantCode string
	}{
		{"unsigned", now, nil, func(r *http.Request) { r.Header.Del("Authorization") }, sigv4.MissingAuthenticationToken},
		{"two authorization headers", now, nil, func(r *http.Request) { r.Header.Add("Authorization", "x") }, sigv4.IncompleteSignature},
		{"bearer instead of a signature", now, nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, sigv4.IncompleteSignature},
		{"no signature field", now, nil, replaceAuth(", Signature=", ", Sig="), sigv4.IncompleteSignature},
		{"field twice", now, nil, replaceAuth(", Signature=", ", Signature=0, Signature="), sigv4.IncompleteSignature},
		{"short scope", now, nil, replaceAuth("/aws4_request", ""), sigv4.IncompleteSignature},
		{"no date", now, nil, func(r *http.Request) { r.Header.Del("X-Amz-Date") }, sigv4.IncompleteSignature},
		{"another region", now, nil, replaceAuth("/us-east-1/", "/eu-west-1/"), sigv4.InvalidSignature},
		{"another service", now, nil, replaceAuth("/aws-mcp/", "/sts/"), sigv4.InvalidSignature},
		{"scope of another day", now, nil, replaceAuth("/20261124/", "/20261123/"), sigv4.InvalidSignature},
		{"host not signed", now, nil, replaceAuth("host;", ""), sigv4.InvalidSignature},
		{"unsigned x-amz header", now, nil, func(r *http.Request) { r.Header.Set("X-Amz-Meta", "v") }, sigv4.InvalidSignature},
		{"signed headers not sorted", now, nil, replaceAuth("host;x-amz-date", "x-amz-date;host"), sigv4.InvalidSignature},
		{"signed headers in upper case", now, nil, replaceAuth("SignedHeaders=accept", "SignedHeaders=Accept"), sigv4.InvalidSignature},
		{"signed header changed on the way", now, nil, func(r *http.Request) { r.Header.Set("Accept", "*/*") }, sigv4.InvalidSignature},
		{"method changed", now, nil, func(r *http.Request) { r.Method = http.MethodPut }, sigv4.InvalidSignature},
		{"path changed", now, nil, func(r *http.Request) { r.URL.Path = "/other" }, sigv4.InvalidSignature},
		{"query added", now, nil, func(r *http.Request) { r.URL.RawQuery = "a=1" }, sigv4.InvalidSignature},
		{"host changed", now, nil, func(r *http.Request) { r.Host = "elsewhere" }, sigv4.InvalidSignature},
		{"body changed, same length", now, nil, setBody(`{"jsonrpc":"2.1"}`), sigv4.InvalidSignature},
		{"signature changed", now, nil, replaceAuth("Signature=", "Signature=0"), sigv4.InvalidSignature},
		{"six minutes late", now.Add(6 * time.Minute), nil, nil, sigv4.InvalidSignature},
		{"six minutes early", now.Add(-6 * time.Minute), nil, nil, sigv4.InvalidSignature},
		{"five minutes late is in time", now.Add(5 * time.Minute), nil, nil, ""},
		{"key never issued", now, func(c *issued.Credential) { c.AccessKeyID = "ASIAOTHER" }, nil, sigv4.UnrecognizedClient},
		{"another token", now, func(c *issued.Credential) { c.SessionToken = "another" }, nil, sigv4.UnrecognizedClient},
		{"token left out", now, nil, func(r *http.Request) {
			r.Header.Del("X-Amz-Security-Token")
		}, sigv4.UnrecognizedClient},
		{"expired", now, func(c *issued.Credential) { c.Expires = now }, nil, sigv4.ExpiredToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			known := credential()
			if tc.store != nil {
				tc.store(&known)
			}
			req := sdkRequest(t, "POST", "http://aws-mcp.local/mcp", `{"jsonrpc":"2.0"}`, "aws-mcp", now, credential())
			if tc.tamper != nil {
				tc.tamper(req)
			}
			err := receive(t, req, "aws-mcp", "us-east-1", store(known), tc.at)
			if got := code(err); got != tc.wantCode {
				t.Errorf("code = %q, want %q (%v)", got, tc.wantCode, err)
			}
			if err != nil && (strings.Contains(err.Error(), known.SecretAccessKey) || strings.Contains(err.Error(), known.SessionToken)) {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestDeclaredHashMustMatch(t *testing.T) {
	t.Parallel()
	req := sdkRequest(t, "PUT", "http://s3.local/bucket/key", "data", "s3", now, credential())
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader("DATA")), 4
	if got := code(receive(t, req, "s3", "us-east-1", store(credential()), now)); got != sigv4.InvalidSignature {
		t.Errorf("code = %q, want %q", got, sigv4.InvalidSignature)
	}
}

func TestErrorSpellings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code, query string
		status      int
	}{
		{sigv4.MissingAuthenticationToken, "MissingAuthenticationToken", 403},
		{sigv4.IncompleteSignature, "IncompleteSignature", 400},
		{sigv4.UnrecognizedClient, "InvalidClientTokenId", 403},
		{sigv4.InvalidSignature, "SignatureDoesNotMatch", 403},
		{sigv4.ExpiredToken, "ExpiredToken", 403},
	} {
		e := &sigv4.Error{Code: tc.code}
		if e.QueryCode() != tc.query || e.HTTPStatus() != tc.status {
			t.Errorf("%s: QueryCode, HTTPStatus = %s, %d, want %s, %d", tc.code, e.QueryCode(), e.HTTPStatus(), tc.query, tc.status)
		}
	}
}

// FuzzVerify looks for panics in the parser of what a stranger sends, and for a signature that passes by chance.
func FuzzVerify(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=ASIAVECTOR0000000000/20261124/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=00", "20261124T120000Z", "/a/../b?c=%zz&d", "x")
	f.Add("AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;, Signature=", "20261124T120000Z", "/", "")
	f.Fuzz(func(t *testing.T, auth, date, target, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		if path, query, found := strings.Cut(target, "?"); found {
			r.URL.Path, r.URL.RawQuery = path, query
		}
		r.Header["Authorization"] = []string{auth}
		r.Header["X-Amz-Date"] = []string{date}
		if _, err := sigv4.Verify(r, []byte(body), "sts", "us-east-1", store(credential()), now); err == nil {
			t.Errorf("accepted %q", auth)
		}
	})
}

package moto

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

var errNotFound = errors.New("not found")

// call sends one request of the query protocol and decodes the XML answer into out. params are names and values
// in turn; account "" means moto's default. An answer 404 is errNotFound.
func call(ctx context.Context, endpoint, service, version, account string, out any, action string, params ...string) error {
	fail := func(err error) error { return fmt.Errorf("ask moto: %s:%s: %w", service, action, err) }
	form := url.Values{"Action": {action}, "Version": {version}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if account != "" {
		req.Header.Set("X-Moto-Account-Id", account)
	}
	// moto takes the service from the scope and does not look at the signature.
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=none")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fail(err)
	case resp.StatusCode == http.StatusNotFound:
		return fail(errNotFound)
	case resp.StatusCode != http.StatusOK:
		return fail(fmt.Errorf("unavailable: HTTP status %s", resp.Status))
	}
	if err := xml.Unmarshal(body, out); err != nil {
		return fail(err)
	}
	return nil
}

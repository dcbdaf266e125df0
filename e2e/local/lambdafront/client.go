package lambdafront

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/central-ops/central-ops/e2e/local/issued"
)

// Client calls the Invoke API as an AWS service or a test does, signed with one credential per call.
type Client struct {
	URL    string
	Region string
	HTTP   *http.Client
}

// Result is the answer of a function.
type Result struct {
	Payload       []byte // JSON
	FunctionError string // "" or Unhandled; then Payload is {"errorType","errorMessage",...}
}

// APIError is a refusal by the service.
type APIError struct {
	Status  int
	Code    string
	Message string
}

func (e *APIError) Error() string { return fmt.Sprintf("lambda: %s: %s", e.Code, e.Message) }

// Invoke calls the function by ARN or name and waits for its answer. payload is JSON; clientContext is a JSON object
// or nil. A refusal by the service is an *APIError.
func (c Client) Invoke(ctx context.Context, cred issued.Credential, function string, payload, clientContext []byte) (Result, error) {
	address := c.URL + "/2015-03-31/functions/" + url.PathEscape(function) + "/invocations"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(payload))
	if err != nil {
		return Result{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if clientContext != nil {
		req.Header.Set("X-Amz-Client-Context", base64.StdEncoding.EncodeToString(clientContext))
	}
	sum := sha256.Sum256(payload)
	keys := aws.Credentials{AccessKeyID: cred.AccessKeyID, SecretAccessKey: cred.SecretAccessKey, SessionToken: cred.SessionToken}
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), "lambda", c.Region, time.Now()); err != nil {
		return Result{}, err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Result{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Result{}, err
	}
	if resp.StatusCode != http.StatusOK {
		var refused struct{ Message string }
		if err := json.Unmarshal(body, &refused); err != nil {
			return Result{}, fmt.Errorf("lambda: %s without an error document: %w", resp.Status, err)
		}
		return Result{}, &APIError{resp.StatusCode, resp.Header.Get("X-Amzn-Errortype"), refused.Message}
	}
	return Result{Payload: body, FunctionError: resp.Header.Get("X-Amz-Function-Error")}, nil
}

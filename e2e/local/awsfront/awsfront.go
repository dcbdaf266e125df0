// Package awsfront stands in for those AWS services that the bridge calls in its own account: DynamoDB, for accounts and
// shared sessions, and SSM, for the access policy.
//
// moto has the data and checks nothing. This front checks the signature and the caller's permission for the action on the
// table or parameter that the request names, and passes on what may pass:
//
//	POST /   X-Amz-Target: DynamoDB_20120810.GetItem   {"TableName":"...",...}
//	POST /   X-Amz-Target: AmazonSSM.GetParameter      {"Name":"...",...}
//	400      AccessDeniedException and the signature errors, {"__type","message"}
package awsfront

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

// maxBody bounds a request; DynamoDB's own limit of an item is 400 KB.
const maxBody = 1 << 20

// Config says who may call what. All of it is required.
type Config struct {
	Upstream string // moto's URL
	Region   string
	Store    *issued.Store
	// Authorize tells whether the principal may do the action, e.g. dynamodb:GetItem, on the resource.
	Authorize func(principalARN, action, resourceARN string) bool
}

// Front is the endpoint, an http.Handler that is safe for concurrent use.
type Front struct {
	config Config
	moto   *httputil.ReverseProxy
}

// New returns a Front before the moto server.
func New(c Config) (*Front, error) {
	target, err := url.Parse(c.Upstream)
	if err != nil {
		return nil, fmt.Errorf("awsfront: moto's address: %w", err)
	}
	return &Front{config: c, moto: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}}, nil
}

// ServeHTTP answers one request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, "SerializationException", "The request could not be read.")
		return
	}
	action, resource, known := f.called(r.Header.Get("X-Amz-Target"), body)
	if !known {
		refuse(w, "UnknownOperationException", "This operation is not served here: "+r.Header.Get("X-Amz-Target"))
		return
	}
	service, _, _ := strings.Cut(action, ":")
	caller, err := sigv4.Verify(r, body, service, f.config.Region, f.config.Store, time.Now())
	if refused := (*sigv4.Error)(nil); errors.As(err, &refused) {
		refuse(w, refused.Code, refused.Message)
		return
	}
	resource = "arn:aws:" + service + ":" + f.config.Region + ":" + caller.Account + ":" + resource
	if !f.config.Authorize(caller.PrincipalARN, action, resource) {
		refuse(w, "AccessDeniedException", fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
			caller.PrincipalARN, action, resource, action))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.moto.ServeHTTP(w, r)
}

// called returns the action and the last part of the ARN of what it is done to.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
func (f *Front) called(target string, body []byte) (action, resource string, known bool) {
	var request struct{ TableName, Name string }
	if json.Unmarshal(body, &request) != nil {
		return "", "", false
	}
	service, operation, _ := strings.Cut(target, ".")
	switch {
	case service == "DynamoDB_20120810" && request.TableName != "":
		return "dynamodb:" + operation, "table/" + request.TableName, true
	case service == "AmazonSSM" && request.Name != "":
		return "ssm:" + operation, "parameter/" + strings.TrimPrefix(request.Name, "/"), true
	}
	return "", "", false
}

// refuse answers an error as services with the JSON protocol do.
func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message}) // the client is gone if this fails
}

package awsfront_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/central-ops/central-ops/e2e/local/awsfront"
	"github.com/central-ops/central-ops/e2e/local/issued"
)

var bridge = issued.Credential{
	AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "token",
	Account: "111111111111", PrincipalARN: "arn:aws:sts::111111111111:assumed-role/bridge/session",
}

// call posts body to the front, signed for service by the credential, and returns status, error type and body.
func call(t *testing.T, address, service, target, body string, cred issued.Credential) (int, string, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", target)
	hash := sha256.Sum256([]byte(body))
	keys := aws.Credentials{AccessKeyID: cred.AccessKeyID, SecretAccessKey: cred.SecretAccessKey, SessionToken: cred.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, request, hex.EncodeToString(hash[:]), service, "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("X-Amzn-Errortype"), string(text)
}

func TestOnlyWhatThePolicyAllowsPasses(t *testing.T) {
	t.Parallel()
	var passed []string // what the emulator was asked
	moto := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		passed = append(passed, r.Header.Get("X-Amz-Target")+string(body))
	}))
	t.Cleanup(moto.Close)
	store := issued.New()
	store.Add(bridge)
	allowed := []string{
		"dynamodb:GetItem arn:aws:dynamodb:us-east-1:111111111111:table/sessions",
		"ssm:GetParameter arn:aws:ssm:us-east-1:111111111111:parameter/ops/policy",
	}
	front, err := awsfront.New(awsfront.Config{
		Upstream: moto.URL, Region: "us-east-1", Store: store,
		Authorize: func(principal, action, resource string) bool {
			return principal == bridge.PrincipalARN && strings.Contains(strings.Join(allowed, "\n"), action+" "+resource)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front)
	t.Cleanup(server.Close)
	forged := bridge
	forged.SecretAccessKey = "another"
	for name, row := range map[string]struct {
		service, target, body string
		cred                  issued.Credential
		want                  string // error type; "" passes
	}{
		"allowed read":          {"dynamodb", "DynamoDB_20120810.GetItem", `{"TableName":"sessions"}`, bridge, ""},
		"allowed parameter":     {"ssm", "AmazonSSM.GetParameter", `{"Name":"/ops/policy"}`, bridge, ""},
		"other action":          {"dynamodb", "DynamoDB_20120810.DeleteItem", `{"TableName":"sessions"}`, bridge, "AccessDeniedException"},
		"other table":           {"dynamodb", "DynamoDB_20120810.GetItem", `{"TableName":"accounts"}`, bridge, "AccessDeniedException"},
		"wrong secret":          {"dynamodb", "DynamoDB_20120810.GetItem", `{"TableName":"sessions"}`, forged, "InvalidSignatureException"},
		"signed for another":    {"ssm", "DynamoDB_20120810.GetItem", `{"TableName":"sessions"}`, bridge, "InvalidSignatureException"},
		"unknown service":       {"kms", "TrentService.Decrypt", `{"Name":"x"}`, bridge, "UnknownOperationException"},
		"request names nothing": {"dynamodb", "DynamoDB_20120810.ListTables", `{}`, bridge, "UnknownOperationException"},
	} {
		status, code, text := call(t, server.URL, row.service, row.target, row.body, row.cred)
		if code != row.want || (status == http.StatusOK) != (row.want == "") {
			t.Errorf("%s: %d %s %s, want %q", name, status, code, text, row.want)
		}
	}
	if len(passed) != 2 {
		t.Errorf("the emulator was asked %q, want the two that are allowed", passed)
	}
}

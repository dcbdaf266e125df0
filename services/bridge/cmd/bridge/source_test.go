package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestAccessPolicyFromParameterStore reads the policy from an SSM that verifies the signature.
func TestAccessPolicyFromParameterStore(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	keys := newFakeSTS(t)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in struct {
			Name           string
			WithDecryption bool
		}
		if err := json.Unmarshal(body, &in); err != nil {
			t.Errorf("SSM got no JSON: %v", err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch err := keys.verify(r, body, "ssm", "us-east-1"); {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":"InvalidSignatureException","message":%q}`, err.Error())
		case r.Header.Get("X-Amz-Target") != "AmazonSSM.GetParameter" || in.Name != "/central-ops/policy" || !in.WithDecryption:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"ParameterNotFound"}`)
		default:
			reads.Add(1)
			_ = json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]any{"Name": in.Name, "Type": "SecureString", "Value": opsPolicy}})
		}
	}))
	t.Cleanup(store.Close)
	b := start(t, "ACCESS_POLICY=", "ACCESS_POLICY_PARAMETER=/central-ops/policy", "AWS_ENDPOINT_URL_SSM="+store.URL)
	checkPolicy(t, b)
	if n := reads.Load(); n != 1 {
		t.Errorf("the parameter was read %d times within a minute, want once", n)
	}
	missing := start(t, "ACCESS_POLICY=", "ACCESS_POLICY_PARAMETER=/central-ops/other", "AWS_ENDPOINT_URL_SSM="+store.URL)
	checkNoPolicy(t, missing)
}

// TestAccessPolicyFromObject reads the policy from an S3 that verifies the signature.
func TestAccessPolicyFromObject(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		match := credentialPattern.FindStringSubmatch(r.Header.Get("Authorization"))
		if match == nil || match[1] != ownKey || match[2] != "us-east-1" || match[3] != "s3" || r.Header.Get("X-Amz-Security-Token") != ownToken {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<Error><Code>SignatureDoesNotMatch</Code></Error>`)
			return
		}
		if r.Method != http.MethodGet || r.URL.Path != "/policies/central-ops/prod.cedar" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `<Error><Code>NoSuchKey</Code></Error>`)
			return
		}
		reads.Add(1)
		_, _ = io.WriteString(w, opsPolicy)
	}))
	t.Cleanup(bucket.Close)
	b := start(t, "ACCESS_POLICY=", "ACCESS_POLICY_PARAMETER=s3://policies/central-ops/prod.cedar", "AWS_ENDPOINT_URL_S3="+bucket.URL)
	checkPolicy(t, b)
	if n := reads.Load(); n != 1 {
		t.Errorf("the object was read %d times within a minute, want once", n)
	}
	missing := start(t, "ACCESS_POLICY=", "ACCESS_POLICY_PARAMETER=s3://policies/other", "AWS_ENDPOINT_URL_S3="+bucket.URL)
	checkNoPolicy(t, missing)
}

// checkPolicy holds opsPolicy against what b decides.
func checkPolicy(t *testing.T, b *box) {
	t.Helper()
	const all = `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`
	if got := b.call(b.token("ops"), "query", all); got.Coverage.Answered != 3 {
		t.Errorf("ops: %s %+v", got.statuses(), got.Error)
	}
	const prod = `{"accounts":["222222222222"],"service":"ec2","operation":"DescribeInstances"}`
	if got := b.call(b.token("dev"), "query", prod); got.Coverage.Denied != 1 {
		t.Errorf("dev in production: %s %+v", got.statuses(), got.Error)
	}
}

// checkNoPolicy: without a policy nobody may ask, and the answer says what to look at.
func checkNoPolicy(t *testing.T, b *box) {
	t.Helper()
	got := b.call(b.token("ops"), "query", describe)
	if got.OK || got.Error == nil || got.Error.Code != "unavailable" || !strings.Contains(got.Error.Hint, "ACCESS_POLICY_PARAMETER") {
		t.Errorf("%s %+v", got.statuses(), got.Error)
	}
	if b.sts.assumed() != 0 {
		t.Error("a role was assumed without a policy")
	}
}

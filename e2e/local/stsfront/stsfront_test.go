package stsfront_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
	"github.com/central-ops/central-ops/e2e/local/trail"
	"github.com/google/go-cmp/cmp"
)

const (
	bridgeARN = "arn:aws:iam::111111111111:role/central-ops-bridge"
	targetARN = "arn:aws:iam::222222222222:role/CentralOpsTargetRole"
	localARN  = "arn:aws:iam::111111111111:role/CentralOpsTargetRole"
	outside   = "arn:aws:iam::999999999999:role/CentralOpsTargetRole"

	bridgeRights = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],
		"Resource":"arn:aws:iam::*:role/CentralOpsTargetRole","Condition":{"StringEquals":{"aws:ResourceOrgID":"o-1"}}}]}`
	targetTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + bridgeARN + `"},
		"Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],
		"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1","sts:ExternalId":"x-1"},
			"StringLike":{"sts:SourceIdentity":"*","sts:RoleSessionName":"central-ops-*"},
			"ForAllValues:StringLike":{"aws:TagKeys":["central-ops:*"]}}}]}`
)

// world is an STS with a bridge role in 111111111111 and target roles in it, 222222222222 and 999999999999.
type world struct {
	roles  iampolicy.StaticRoles
	config stsfront.Config
	store  *issued.Store
	trail  *trail.Log
	server *stsfront.Server
	url    string
	bridge issued.Credential
}

func build(t *testing.T, edit func(*world)) *world {
	t.Helper()
	w := &world{store: issued.New(), trail: &trail.Log{}, roles: iampolicy.StaticRoles{
		bridgeARN: {ARN: bridgeARN, ID: "AROABRIDGE", Policies: []string{bridgeRights}},
		targetARN: {ARN: targetARN, ID: "AROATARGET", Trust: targetTrust},
		localARN:  {ARN: localARN, ID: "AROALOCAL", Trust: targetTrust},
		outside:   {ARN: outside, ID: "AROAOUTSIDE", Trust: targetTrust},
	}}
	w.config = stsfront.Config{
		Store: w.store, Roles: w.roles, Minter: stsfront.LocalKeys{}, Sink: w.trail.Write,
		OrganizationID: "o-1", OrganizationOf: map[string]string{"999999999999": ""},
	}
	if edit != nil {
		edit(w)
	}
	w.server = stsfront.New(w.config)
	web := httptest.NewServer(w.server)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	w.url = web.URL
	var err error
	if w.bridge, err = w.server.Issue(t.Context(), bridgeARN, "bridge-1", time.Hour); err != nil {
		t.Fatal(err)
	}
	return w
}

// client is the real SDK with the keys of c.
func (w *world) client(c issued.Credential) *sts.Client { return w.clientIn("us-east-1", c) }

func (w *world) clientIn(region string, c issued.Credential) *sts.Client {
	keys := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	return sts.New(sts.Options{
		Region: region, BaseEndpoint: aws.String(w.url), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }),
	})
}

// request is what the bridge sends.
func request() *sts.AssumeRoleInput {
	return &sts.AssumeRoleInput{
		RoleArn: aws.String(targetARN), RoleSessionName: aws.String("central-ops-dev"), ExternalId: aws.String("x-1"),
		SourceIdentity: aws.String("olivia"), DurationSeconds: aws.Int32(3600),
		Tags:   []types.Tag{{Key: aws.String("central-ops:user"), Value: aws.String("olivia")}},
		Policy: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}]}`),
	}
}

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestAssumeRole(t *testing.T) {
	t.Parallel()
	w := build(t, nil)
	out, err := w.client(w.bridge).AssumeRole(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	got, ok := w.store.Lookup(aws.ToString(out.Credentials.AccessKeyId))
	if !ok {
		t.Fatal("the keys are not in the store")
	}
	want := issued.Credential{
		AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey), SessionToken: aws.ToString(out.Credentials.SessionToken),
		Account: "222222222222", PrincipalARN: "arn:aws:sts::222222222222:assumed-role/CentralOpsTargetRole/central-ops-dev", PrincipalID: "AROATARGET:central-ops-dev",
		RoleARN: targetARN, SessionName: "central-ops-dev", SourceIdentity: "olivia", Tags: map[string]string{"central-ops:user": "olivia"},
		SessionPolicy: aws.ToString(request().Policy), Expires: aws.ToTime(out.Credentials.Expiration),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("issued mismatch (-want +got):\n%s", diff)
	}
	if aws.ToString(out.SourceIdentity) != "olivia" || aws.ToInt32(out.SessionTokenUtilization) < 1 || aws.ToString(out.AssumedRoleUser.Arn) != want.PrincipalARN {
		t.Errorf("answer: source identity %q, utilization %d, %q", aws.ToString(out.SourceIdentity), aws.ToInt32(out.SessionTokenUtilization), aws.ToString(out.AssumedRoleUser.Arn))
	}

	identity, err := w.client(got).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(identity.Arn) != want.PrincipalARN || aws.ToString(identity.Account) != want.Account || aws.ToString(identity.UserId) != want.PrincipalID {
		t.Errorf("GetCallerIdentity = %s, %s, %s", aws.ToString(identity.Arn), aws.ToString(identity.Account), aws.ToString(identity.UserId))
	}

	for _, account := range []string{"111111111111", "222222222222"} {
		records := w.trail.Account(account)
		if len(records) != 1 {
			t.Fatalf("account %s has %d records, want 1", account, len(records))
		}
		wantParameters := map[string]any{
			"roleArn": targetARN, "roleSessionName": "central-ops-dev", "externalId": "x-1", "sourceIdentity": "olivia", "durationSeconds": "3600",
			"policy": aws.ToString(request().Policy), "principalTags": map[string]string{"central-ops:user": "olivia"},
		}
		if diff := cmp.Diff(wantParameters, records[0].RequestParameters); diff != "" {
			t.Errorf("account %s: request parameters mismatch (-want +got):\n%s", account, diff)
		}
		if records[0].UserIdentity.PrincipalID != "AROABRIDGE:bridge-1" || records[0].ResponseElements["sourceIdentity"] != "olivia" {
			t.Errorf("account %s: record of %+v, response %v", account, records[0].UserIdentity, records[0].ResponseElements)
		}
	}
}

func TestAssumeRoleRefuses(t *testing.T) {
	t.Parallel()
	replaceTrust := func(old, new string) func(*world) {
		return func(w *world) {
			role := w.roles[targetARN]
			role.Trust = strings.Replace(role.Trust, old, new, 1)
			w.roles[targetARN] = role
		}
	}
	replaceRights := func(old, new string) func(*world) {
		return func(w *world) {
			role := w.roles[bridgeARN]
			role.Policies = []string{strings.Replace(role.Policies[0], old, new, 1)}
			w.roles[bridgeARN] = role
		}
	}
	many := func(n int) []types.Tag {
		tags := make([]types.Tag, n)
		for i := range tags {
			tags[i] = types.Tag{Key: aws.String("central-ops:" + strings.Repeat("k", i)), Value: aws.String("v")}
		}
		return tags
	}
	random := func(n int) string {
		// Text that does not compress: keys from the minter.
		var b strings.Builder
		for b.Len() < n {
			c, err := stsfront.LocalKeys{}.Mint(context.Background(), "", "", 0)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString(c.SessionToken)
		}
		return b.String()[:n]
	}
	for _, tc := range []struct {
		name    string
		world   func(*world)
		request func(*sts.AssumeRoleInput)
		want    string
		message string // part of it
	}{
		{"allowed", nil, nil, "", ""},
		{"no external id", nil, func(in *sts.AssumeRoleInput) { in.ExternalId = nil }, "AccessDenied", "sts:AssumeRole"},
		{"another external id", nil, func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("x-2") }, "AccessDenied", ""},
		{"no source identity", nil, func(in *sts.AssumeRoleInput) { in.SourceIdentity = nil }, "AccessDenied", ""},
		{"another session name", nil, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("other") }, "AccessDenied", ""},
		{"tag key that the trust policy does not list", nil, func(in *sts.AssumeRoleInput) { in.Tags[0].Key = aws.String("other") }, "AccessDenied", ""},
		{"no tags at all", nil, func(in *sts.AssumeRoleInput) { in.Tags = nil }, "", ""},
		{"role that does not exist", nil, func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::222222222222:role/Nobody") }, "AccessDenied", "sts:AssumeRole"},
		{"role of another organization", nil, func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(outside) }, "AccessDenied", ""},
		{"caller of another organization", func(w *world) { w.config.OrganizationOf["111111111111"] = "o-2" }, nil, "AccessDenied", ""},
		{"trust in another role", replaceTrust("central-ops-bridge", "other"), nil, "AccessDenied", "sts:AssumeRole"},
		{"trust in the account is enough with an identity policy", replaceTrust(bridgeARN, "arn:aws:iam::111111111111:root"), nil, "", ""},
		{"trust without SetSourceIdentity", replaceTrust(`"sts:SetSourceIdentity",`, ""), nil, "AccessDenied", "sts:SetSourceIdentity"},
		{"trust without TagSession", replaceTrust(`,"sts:TagSession"`, ""), nil, "AccessDenied", "sts:TagSession"},
		{"caller without TagSession", replaceRights(`,"sts:TagSession"`, ""), nil, "AccessDenied", "sts:TagSession"},
		{"caller without rights on the role", replaceRights("arn:aws:iam::*:role/CentralOpsTargetRole", "arn:aws:iam::333333333333:role/*"), nil, "AccessDenied", "sts:AssumeRole"},
		{"caller with an explicit deny", replaceRights(`"Effect":"Allow"`, `"Effect":"Deny"`), nil, "AccessDenied", ""},
		{"same account, trust by name, no identity policy", replaceRights("arn:aws:iam::*:", "arn:aws:iam::2*:"), func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(localARN) }, "", ""},
		{"session name too short", nil, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("x") }, "ValidationError", "roleSessionName"},
		{"session name with a blank", nil, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("central-ops dev") }, "ValidationError", "roleSessionName"},
		{"session name too long", nil, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(strings.Repeat("x", 65)) }, "ValidationError", "roleSessionName"},
		{"source identity with a slash", nil, func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("a/b") }, "ValidationError", "sourceIdentity"},
		{"source identity too long", nil, func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String(strings.Repeat("x", 65)) }, "ValidationError", "sourceIdentity"},
		{"external id too short", nil, func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("x") }, "ValidationError", "externalId"},
		{"not a role", nil, func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::222222222222:user/x") }, "ValidationError", "roleArn"},
		{"less than 15 minutes", nil, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(899) }, "ValidationError", "durationSeconds"},
		{"more than an hour, chained", nil, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError", "role chaining"},
		{"more than the role's maximum", func(w *world) {
			role := w.roles[targetARN]
			role.MaxSession = 30 * time.Minute
			w.roles[targetARN] = role
		}, nil, "ValidationError", "MaxSessionDuration"},
		{"51 tags", nil, func(in *sts.AssumeRoleInput) { in.Tags = many(51) }, "ValidationError", "tags"},
		{"50 tags", nil, func(in *sts.AssumeRoleInput) { in.Tags = many(50) }, "", ""},
		{"tag twice", nil, func(in *sts.AssumeRoleInput) { in.Tags = append(in.Tags, in.Tags[0]) }, "ValidationError", "distinct"},
		{"tag value too long", nil, func(in *sts.AssumeRoleInput) { in.Tags[0].Value = aws.String(strings.Repeat("v", 257)) }, "ValidationError", "value"},
		{"transitive key without its tag", nil, func(in *sts.AssumeRoleInput) { in.TransitiveTagKeys = []string{"other"} }, "ValidationError", "transitive"},
		{"policy too long", nil, func(in *sts.AssumeRoleInput) { in.Policy = aws.String(strings.Repeat(" ", 2049)) }, "ValidationError", "policy"},
		{"policy that is none", nil, func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{}") }, "MalformedPolicyDocument", ""},
		{"packed size", nil, func(in *sts.AssumeRoleInput) {
			in.Tags = nil
			for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"} {
				in.Tags = append(in.Tags, types.Tag{Key: aws.String("central-ops:" + key), Value: aws.String(random(256))})
			}
		}, "PackedPolicyTooLarge", "%"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := build(t, tc.world)
			in := request()
			if tc.request != nil {
				tc.request(in)
			}
			_, err := w.client(w.bridge).AssumeRole(t.Context(), in)
			if got := code(err); got != tc.want {
				t.Fatalf("code = %q, want %q (%v)", got, tc.want, err)
			}
			if tc.want != "" && !strings.Contains(err.Error(), tc.message) {
				t.Errorf("message %q does not hold %q", err, tc.message)
			}
			if tc.want != "" {
				if records := w.trail.Account("111111111111"); len(records) != 1 || records[0].ErrorCode != tc.want {
					t.Errorf("records of the refusal: %+v", records)
				}
			}
		})
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	w := build(t, nil)
	expired := w.bridge
	expired.AccessKeyID, expired.Expires = "ASIAEXPIRED", time.Now().Add(-time.Second)
	w.store.Add(expired)
	unknown, wrong := w.bridge, w.bridge
	unknown.AccessKeyID = "ASIAUNKNOWN"
	wrong.SecretAccessKey = "wrong"
	for want, c := range map[string]issued.Credential{"ExpiredToken": expired, "InvalidClientTokenId": unknown, "SignatureDoesNotMatch": wrong} {
		if _, err := w.client(c).GetCallerIdentity(t.Context(), nil); code(err) != want {
			t.Errorf("code = %q, want %q", code(err), want)
		}
	}
	elsewhere := w.clientIn("eu-west-1", w.bridge)
	if _, err := elsewhere.GetCallerIdentity(t.Context(), nil); code(err) != "SignatureDoesNotMatch" {
		t.Errorf("signed for another Region: %q", code(err))
	}
	if _, err := w.client(w.bridge).GetSessionToken(t.Context(), nil); code(err) != "InvalidAction" {
		t.Errorf("an action that is not served: %q, want InvalidAction", code(err))
	}
}

func TestSourceIdentityCannotChange(t *testing.T) {
	t.Parallel()
	w := build(t, nil)
	carries := w.bridge
	carries.AccessKeyID, carries.SourceIdentity = "ASIACARRIES", "olivia"
	w.store.Add(carries)
	in := request()
	in.SourceIdentity = aws.String("mallory")
	if _, err := w.client(carries).AssumeRole(t.Context(), in); code(err) != "AccessDenied" {
		t.Errorf("another source identity: %q, want AccessDenied", code(err))
	}
	in.SourceIdentity = nil
	out, err := w.client(carries).AssumeRole(t.Context(), in)
	if err != nil || aws.ToString(out.SourceIdentity) != "olivia" {
		t.Errorf("the source identity is inherited: %v, %v", out, err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	w := build(t, nil)
	client := w.client(w.bridge)
	w.server.Inject(stsfront.Fault{Account: "222222222222", Times: 1, Error: stsfront.Throttled})
	w.server.Inject(stsfront.Fault{Account: "333333333333", Denied: true})
	for i, want := range []string{"Throttling", ""} {
		if _, err := client.AssumeRole(t.Context(), request()); code(err) != want {
			t.Errorf("call %d: %q, want %q", i+1, code(err), want)
		}
	}
	w.server.Inject(stsfront.Fault{Denied: true})
	if _, err := client.AssumeRole(t.Context(), request()); code(err) != "AccessDenied" {
		t.Errorf("denied: %q", code(err))
	}
	w.server.ClearFaults()
	w.server.Inject(stsfront.Fault{Error: stsfront.RegionDisabled, Times: 1})
	if _, err := client.AssumeRole(t.Context(), request()); code(err) != "RegionDisabledException" {
		t.Errorf("disabled Region: %q", code(err))
	}
	w.server.Inject(stsfront.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.AssumeRole(ctx, request()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hang: %v, want a deadline", err)
	}
	w.server.ClearFaults() // not by a count: on a busy machine the deadline may pass before the request is there
	if _, err := client.AssumeRole(t.Context(), request()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestIssueRefusesUnknownRole(t *testing.T) {
	t.Parallel()
	w := build(t, nil)
	if _, err := w.server.Issue(t.Context(), "arn:aws:iam::111111111111:role/nobody", "x", time.Hour); !errors.Is(err, iampolicy.ErrNoRole) {
		t.Errorf("Issue = %v, want ErrNoRole", err)
	}
}

// A service gets a session of a role whose trust policy lets it have one for that resource.
func TestIssueToService(t *testing.T) {
	t.Parallel()
	const (
		role   = "arn:aws:iam::111111111111:role/gateway"
		source = "arn:aws:bedrock-agentcore:us-east-1:111111111111:gateway/tools-1"
	)
	w := build(t, func(w *world) {
		w.roles[role] = iampolicy.Role{ARN: role, ID: "AROAGATEWAY", Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
			"Principal":{"Service":"bedrock-agentcore.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{
			"StringEquals":{"aws:SourceAccount":"111111111111"},"ArnLike":{"aws:SourceArn":"arn:aws:bedrock-agentcore:us-east-1:111111111111:gateway/tools-*"}}}]}`}
	})
	cred, err := w.server.IssueToService(t.Context(), "bedrock-agentcore.amazonaws.com", source, role, "gateway", time.Hour)
	if err != nil || cred.RoleARN != role {
		t.Fatalf("IssueToService = %v, %v", cred.RoleARN, err)
	}
	for name, row := range map[string]struct{ service, source string }{
		"another service":  {"lambda.amazonaws.com", source},
		"another resource": {"bedrock-agentcore.amazonaws.com", "arn:aws:bedrock-agentcore:us-east-1:111111111111:gateway/other-1"},
		"another account":  {"bedrock-agentcore.amazonaws.com", "arn:aws:bedrock-agentcore:us-east-1:222222222222:gateway/tools-1"},
	} {
		var refused *stsfront.Error
		if _, err := w.server.IssueToService(t.Context(), row.service, row.source, role, "gateway", time.Hour); !errors.As(err, &refused) || refused.Code != "AccessDenied" {
			t.Errorf("%s: %v, want AccessDenied", name, err)
		}
	}
}

package agentcoredata_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore/types"
	"github.com/aws/smithy-go"

	"github.com/central-ops/central-ops/e2e/local/agentcoredata"
	"github.com/central-ops/central-ops/e2e/local/internal/testpool"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/oidc"
)

var agentRole = issued.Credential{AccessKeyID: "ASIAAGENT", SecretAccessKey: "secret", SessionToken: "token", PrincipalARN: "arn:aws:sts::111111111111:assumed-role/agent/s"}

func start(t *testing.T) (*oidc.Front, *agentcoredata.Server) {
	t.Helper()
	front := testpool.Start(t, oidc.Clients{{PoolID: testpool.ID, ID: "machine", Secret: "s3cret", Scopes: []string{"ops/query"}, Flows: []string{"client_credentials"}}})
	store := issued.New()
	store.Add(agentRole)
	server, err := agentcoredata.Start(agentcoredata.Config{
		Region:      "us-east-1",
		Credentials: store,
		Authorize:   func(principal, provider string) bool { return provider != "other" },
		Issued:      func(token string) bool { return token == "wat" },
		Provider: func(name string) (agentcoredata.Provider, bool) {
			return agentcoredata.Provider{TokenURL: front.TokenURL(testpool.ID), ClientID: "machine", ClientSecret: "s3cret"}, name == "tools"
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return front, server
}

// call uses the SDK's own client.
func call(ctx context.Context, server *agentcoredata.Server, secret string, in *bedrockagentcore.GetResourceOauth2TokenInput) (string, error) {
	client := bedrockagentcore.New(bedrockagentcore.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(server.URL), Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: agentRole.AccessKeyID, SecretAccessKey: secret, SessionToken: agentRole.SessionToken}, nil
		}),
	})
	out, err := client.GetResourceOauth2Token(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.AccessToken), nil
}

func input(change func(*bedrockagentcore.GetResourceOauth2TokenInput)) *bedrockagentcore.GetResourceOauth2TokenInput {
	in := &bedrockagentcore.GetResourceOauth2TokenInput{
		WorkloadIdentityToken: aws.String("wat"), ResourceCredentialProviderName: aws.String("tools"),
		Scopes: []string{"ops/query"}, Oauth2Flow: types.Oauth2FlowTypeM2m,
	}
	if change != nil {
		change(in)
	}
	return in
}

func TestMachineTokenPassesTheGatewaysCheck(t *testing.T) {
	t.Parallel()
	front, server := start(t)
	raw, err := call(t.Context(), server, agentRole.SecretAccessKey, input(nil))
	if err != nil {
		t.Fatal(err)
	}
	rules := oidc.CustomJWT{DiscoveryURL: front.DiscoveryURL(testpool.ID), AllowedClients: []string{"machine"}, AllowedScopes: []string{"ops/query"}}
	authorizer, err := oidc.NewAuthorizer(rules, http.DefaultClient, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer authorizer.Close()
	token, err := authorizer.Check(t.Context(), raw)
	if err != nil || token.Subject != "machine" {
		t.Errorf("token %+v, %v", token, err)
	}
	if again, err := call(t.Context(), server, agentRole.SecretAccessKey, input(nil)); err != nil || again != raw {
		t.Errorf("the kept token was not used: %v", err)
	}
	forced, err := call(t.Context(), server, agentRole.SecretAccessKey, input(func(in *bedrockagentcore.GetResourceOauth2TokenInput) { in.ForceAuthentication = aws.Bool(true) }))
	if err != nil || forced == raw {
		t.Errorf("forceAuthentication gave the kept token: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	_, server := start(t)
	tests := []struct {
		name   string
		secret string
		change func(*bedrockagentcore.GetResourceOauth2TokenInput)
		want   string
	}{
		{"wrong secret", "guessed", nil, "InvalidSignatureException"},
		{"made-up workload access token", "secret", func(in *bedrockagentcore.GetResourceOauth2TokenInput) { in.WorkloadIdentityToken = aws.String("x") }, "UnauthorizedException"},
		{"provider that the role may not use", "secret", func(in *bedrockagentcore.GetResourceOauth2TokenInput) {
			in.ResourceCredentialProviderName = aws.String("other")
		}, "AccessDeniedException"},
		{"unknown provider", "secret", func(in *bedrockagentcore.GetResourceOauth2TokenInput) {
			in.ResourceCredentialProviderName = aws.String("x")
		}, "ResourceNotFoundException"},
		{"another flow", "secret", func(in *bedrockagentcore.GetResourceOauth2TokenInput) {
			in.Oauth2Flow = types.Oauth2FlowTypeUserFederation
		}, "ValidationException"},
		{"scope that the client does not have", "secret", func(in *bedrockagentcore.GetResourceOauth2TokenInput) { in.Scopes = []string{"ops/write"} }, "ValidationException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := call(t.Context(), server, tt.secret, input(tt.change))
			var refused smithy.APIError
			if !errors.As(err, &refused) || refused.ErrorCode() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// Package identity declares who may sign in: the Cognito pool, its domain, the app client, the groups, and, when the
// agent speaks to the Gateway as itself, a machine client with the scope that it asks for.
package identity

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cognito"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args of Identity. Groups become Cognito groups; Workload adds the machine client.
type Args struct {
	Prefix, Account, Region string // names are <prefix>..., the domain also carries the account: it is world-wide
	MFA                     string // OFF, OPTIONAL, ON
	DeletionProtection      bool
	Groups, CallbackURLs    []string
	Workload                bool
}

// Identity is the component and its whole interface.
type Identity struct {
	pulumi.ResourceState
	PoolID          pulumi.StringOutput
	ClientID        pulumi.StringOutput // of people
	MachineClientID pulumi.StringOutput // of the agent; "" in user mode
	Issuer          pulumi.StringOutput
	DiscoveryURL    pulumi.StringOutput
	HostedUI        pulumi.StringOutput
}

// Scope is what a machine token carries.
func Scope(prefix string) string { return prefix + "/invoke" }

// New declares an Identity.
func New(ctx *pulumi.Context, name string, a *Args, opts ...pulumi.ResourceOption) (*Identity, error) {
	c := &Identity{}
	if err := ctx.RegisterComponentResource("central-ops:identity:Identity", name, c, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(c)
	protection := "INACTIVE"
	if a.DeletionProtection {
		protection = "ACTIVE"
	}
	pool := &cognito.UserPoolArgs{
		Name: pulumi.String(a.Prefix), DeletionProtection: pulumi.String(protection), MfaConfiguration: pulumi.String(a.MFA),
		AdminCreateUserConfig: &cognito.UserPoolAdminCreateUserConfigArgs{AllowAdminCreateUserOnly: pulumi.Bool(true)},
		PasswordPolicy: &cognito.UserPoolPasswordPolicyArgs{
			MinimumLength: pulumi.Int(14), RequireLowercase: pulumi.Bool(true), RequireUppercase: pulumi.Bool(true),
			RequireNumbers: pulumi.Bool(true), RequireSymbols: pulumi.Bool(true), TemporaryPasswordValidityDays: pulumi.Int(3),
		},
		AccountRecoverySetting: &cognito.UserPoolAccountRecoverySettingArgs{RecoveryMechanisms: cognito.UserPoolAccountRecoverySettingRecoveryMechanismArray{
			&cognito.UserPoolAccountRecoverySettingRecoveryMechanismArgs{Name: pulumi.String("verified_email"), Priority: pulumi.Int(1)},
		}},
		// Names stand in the trail of the member accounts: Ada and ada must not be two people.
		UsernameConfiguration:  &cognito.UserPoolUsernameConfigurationArgs{CaseSensitive: pulumi.Bool(false)},
		AutoVerifiedAttributes: pulumi.ToStringArray([]string{"email"}),
	}
	if a.MFA != "OFF" {
		pool.SoftwareTokenMfaConfiguration = &cognito.UserPoolSoftwareTokenMfaConfigurationArgs{Enabled: pulumi.Bool(true)}
	}
	people, err := cognito.NewUserPool(ctx, name, pool, parent)
	if err != nil {
		return nil, err
	}
	domain, err := cognito.NewUserPoolDomain(ctx, name, &cognito.UserPoolDomainArgs{
		Domain: pulumi.String(a.Prefix + "-" + a.Account), UserPoolId: people.ID(),
	}, parent)
	if err != nil {
		return nil, err
	}
	client, err := cognito.NewUserPoolClient(ctx, name+"-people", &cognito.UserPoolClientArgs{
		Name: pulumi.String(a.Prefix + "-people"), UserPoolId: people.ID(), GenerateSecret: pulumi.Bool(false),
		ExplicitAuthFlows:               pulumi.ToStringArray([]string{"ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH"}),
		AllowedOauthFlows:               pulumi.ToStringArray([]string{"code"}), // public client: Cognito demands PKCE when a challenge is sent
		AllowedOauthScopes:              pulumi.ToStringArray([]string{"openid"}),
		AllowedOauthFlowsUserPoolClient: pulumi.Bool(true), SupportedIdentityProviders: pulumi.ToStringArray([]string{"COGNITO"}),
		CallbackUrls: pulumi.ToStringArray(a.CallbackURLs), PreventUserExistenceErrors: pulumi.String("ENABLED"), EnableTokenRevocation: pulumi.Bool(true),
		AccessTokenValidity: pulumi.Int(60), IdTokenValidity: pulumi.Int(60), RefreshTokenValidity: pulumi.Int(1),
		TokenValidityUnits: &cognito.UserPoolClientTokenValidityUnitsArgs{
			AccessToken: pulumi.String("minutes"), IdToken: pulumi.String("minutes"), RefreshToken: pulumi.String("days"),
		},
	}, parent)
	if err != nil {
		return nil, err
	}
	for _, group := range a.Groups {
		if _, err := cognito.NewUserGroup(ctx, name+"-"+group, &cognito.UserGroupArgs{
			Name: pulumi.String(group), UserPoolId: people.ID(), Description: pulumi.String("may ask about the accounts that central-ops:access names"),
		}, parent); err != nil {
			return nil, err
		}
	}
	c.MachineClientID = pulumi.String("").ToStringOutput()
	if a.Workload {
		server, err := cognito.NewResourceServer(ctx, name, &cognito.ResourceServerArgs{
			Identifier: pulumi.String(a.Prefix), Name: pulumi.String(a.Prefix), UserPoolId: people.ID(),
			Scopes: cognito.ResourceServerScopeArray{&cognito.ResourceServerScopeArgs{
				ScopeName: pulumi.String(strings.TrimPrefix(Scope(a.Prefix), a.Prefix+"/")), ScopeDescription: pulumi.String("call the Gateway as the agent"),
			}},
		}, parent)
		if err != nil {
			return nil, err
		}
		machine, err := cognito.NewUserPoolClient(ctx, name+"-machine", &cognito.UserPoolClientArgs{
			Name: pulumi.String(a.Prefix + "-machine"), UserPoolId: people.ID(), GenerateSecret: pulumi.Bool(true),
			AllowedOauthFlows: pulumi.ToStringArray([]string{"client_credentials"}), AllowedOauthFlowsUserPoolClient: pulumi.Bool(true),
			AllowedOauthScopes: server.ScopeIdentifiers,
		}, parent)
		if err != nil {
			return nil, err
		}
		c.MachineClientID = machine.ID().ToStringOutput()
	}
	c.PoolID, c.ClientID = people.ID().ToStringOutput(), client.ID().ToStringOutput()
	c.Issuer = pulumi.Sprintf("https://cognito-idp.%s.amazonaws.com/%s", a.Region, people.ID())
	c.DiscoveryURL = pulumi.Sprintf("%s/.well-known/openid-configuration", c.Issuer)
	c.HostedUI = pulumi.String(fmt.Sprintf("https://%s-%s.auth.%s.amazoncognito.com", a.Prefix, a.Account, a.Region)).ToStringOutput()
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"poolId": c.PoolID, "clientId": c.ClientID, "domain": domain.Domain})
}

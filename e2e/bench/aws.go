package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/central-ops/central-ops/e2e/local/awsmcp"
	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/stsfront"
)

const (
	region         = "us-east-1"
	centralAccount = "111111111111"
	bridgeRole     = "arn:aws:iam::" + centralAccount + ":role/central-ops-bridge"
	externalID     = "benchmark-external-id"
	clientID       = "benchmark-client"
	keyID          = "benchmark-key"
)

// cloud is what the bridge calls in AWS, each service on a host of its own: STS and the AWS MCP Server are the local
// platform's stand-ins (SigV4, trust and permission policies checked for real), the user pool is its keys alone.
type cloud struct {
	STS, MCP, Keys *service

	accounts []string
	issued   *issued.Store
	server   *awsmcp.Server
	own      issued.Credential // of the bridge's role
}

// conditions are how slow a cloud is.
type conditions struct {
	hop       time.Duration // every request
	coldStart time.Duration // the first script of an MCP session
	script    time.Duration // every script
	unlimited bool          // no quota of requests, which 20 processes in a row would exceed
}

// startCloud starts a cloud with as many member accounts.
func startCloud(ctx context.Context, a *authority, p *pool, accounts int, c conditions) (*cloud, error) {
	roles := iampolicy.StaticRoles{bridgeRole: {
		ARN: bridgeRole, ID: "AROABENCHBRIDGE",
		Trust:    `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}`,
		Policies: []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],"Resource":"arn:aws:iam::*:role/CentralOpsTargetRole"}}`},
	}}
	x := &cloud{issued: issued.New()}
	for i := range accounts {
		id := fmt.Sprintf("2%011d", i)
		x.accounts = append(x.accounts, id)
		arn := "arn:aws:iam::" + id + ":role/CentralOpsTargetRole"
		roles[arn] = iampolicy.Role{
			ARN: arn, ID: "AROABENCH" + id,
			Trust: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + bridgeRole + `"},
				"Action":["sts:AssumeRole","sts:SetSourceIdentity","sts:TagSession"],"Condition":{"StringEquals":{"sts:ExternalId":"` + externalID + `"}}}}`,
			Policies: []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}}`},
		}
	}
	sts := stsfront.New(stsfront.Config{Store: x.issued, Roles: roles, Minter: stsfront.LocalKeys{}, Region: region})
	var err error
	if x.own, err = sts.Issue(ctx, bridgeRole, "bench", time.Hour); err != nil {
		return nil, err
	}
	if x.server, err = awsmcp.New(awsmcp.Config{
		Store: x.issued, Roles: roles, Region: region, Answer: instances, ColdStart: c.coldStart, Latency: c.script, Unlimited: c.unlimited,
	}); err != nil {
		return nil, err
	}
	caller := func(r *http.Request) string {
		credential, _ := x.issued.Lookup(accessKey(r)) // nobody's if it is not signed
		return credential.Account
	}
	if x.STS, err = a.serve(sts, c.hop, caller); err == nil {
		if x.MCP, err = a.serve(x.server, c.hop, caller); err == nil {
			x.Keys, err = a.serve(p, c.hop, nil)
		}
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *cloud) close() {
	for _, each := range []*service{x.STS, x.MCP, x.Keys} {
		if each != nil {
			each.close()
		}
	}
	x.server.Close()
}

// take returns what was done on behalf of member accounts since the last take: the way of a query. The bridge's own
// look at the tool list, which it takes in the background, is left out.
func (x *cloud) take() []request {
	taken := append(x.Keys.take(), x.STS.take()...)
	for _, each := range x.MCP.take() {
		if each.caller != centralAccount {
			taken = append(taken, each)
		}
	}
	return taken
}

// traffic returns connections and requests of all three services since their start. It spends what take would return.
func (x *cloud) traffic() (connections, requests int) {
	for _, each := range []*service{x.STS, x.MCP, x.Keys} {
		connections += int(each.connections.Load())
		requests += len(each.take())
	}
	return connections, requests
}

// instances answers ec2:DescribeInstances with two instances of some 1.5 KB each, which is what AWS sends.
func instances(_ context.Context, ask awsmcp.Ask) (json.RawMessage, error) {
	return json.Marshal(map[string]any{"Reservations": []any{map[string]any{
		"ReservationId": "r-0" + ask.Account, "OwnerId": ask.Account, "Groups": []any{},
		"Instances": []any{instance(ask, "i-0a"), instance(ask, "i-0b")},
	}}})
}

func instance(ask awsmcp.Ask, prefix string) map[string]any {
	id := prefix + ask.Account
	group := []any{map[string]any{"GroupName": "web", "GroupId": "sg-0" + ask.Account}}
	return map[string]any{
		"InstanceId": id, "ImageId": "ami-0123456789abcdef0", "InstanceType": "m7g.large", "KeyName": "",
		"LaunchTime": "2026-11-01T08:15:00+00:00", "Monitoring": map[string]any{"State": "disabled"}, "Architecture": "arm64",
		"Placement":        map[string]any{"AvailabilityZone": ask.Region + "a", "GroupName": "", "Tenancy": "default"},
		"PrivateIpAddress": "10.0.12.34", "PrivateDnsName": "ip-10-0-12-34.ec2.internal", "PublicDnsName": "",
		"State": map[string]any{"Code": 16, "Name": "running"}, "StateTransitionReason": "", "EbsOptimized": true,
		"SubnetId": "subnet-0" + ask.Account, "VpcId": "vpc-0" + ask.Account, "EnaSupport": true, "Hypervisor": "xen",
		"BlockDeviceMappings": []any{map[string]any{"DeviceName": "/dev/xvda", "Ebs": map[string]any{
			"AttachTime": "2026-11-01T08:15:01+00:00", "DeleteOnTermination": true, "Status": "attached", "VolumeId": "vol-0" + ask.Account}}},
		"IamInstanceProfile": map[string]any{"Arn": "arn:aws:iam::" + ask.Account + ":instance-profile/web", "Id": "AIPA" + ask.Account},
		"NetworkInterfaces": []any{map[string]any{
			"NetworkInterfaceId": "eni-0" + ask.Account, "Description": "", "MacAddress": "0a:00:00:00:00:01", "Groups": group, "OwnerId": ask.Account,
			"PrivateIpAddress": "10.0.12.34", "SourceDestCheck": true, "Status": "in-use", "SubnetId": "subnet-0" + ask.Account, "VpcId": "vpc-0" + ask.Account}},
		"RootDeviceName": "/dev/xvda", "RootDeviceType": "ebs", "SecurityGroups": group, "VirtualizationType": "hvm",
		"Tags":       []any{map[string]any{"Key": "Name", "Value": "web-1"}, map[string]any{"Key": "team", "Value": "shop"}},
		"CpuOptions": map[string]any{"CoreCount": 2, "ThreadsPerCore": 1}, "HibernationOptions": map[string]any{"Configured": false},
		"MetadataOptions": map[string]any{"State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled"},
	}
}

// pool is a user pool as far as a verifier of its tokens sees it: an http.Handler for the JWKS, and access tokens.
type pool struct {
	key  *rsa.PrivateKey
	jwks []byte
}

// issuer is a name only: what is measured gets the JWKS from TOKEN_JWKS_URL.
const issuer = "https://cognito-idp." + region + ".amazonaws.com/" + region + "_Benchmark"

func newPool() (*pool, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	encode := base64.RawURLEncoding.EncodeToString
	jwks, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kid": keyID, "kty": "RSA", "alg": "RS256", "use": "sig",
		"n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
	}}})
	return &pool{key: key, jwks: jwks}, err
}

func (p *pool) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(p.jwks) // a client that went away needs no answer
}

// token returns an access token with the claims that Cognito gives one.
func (p *pool) token(subject string) (string, error) {
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"sub": subject, "username": "alice", "cognito:groups": []string{"ops"}, "iss": issuer, "client_id": clientID,
		"token_use": "access", "scope": "aws.cognito.signin.user.admin", "version": 2,
		"origin_jti": "0f3f7b0e-6a52-4d5e-9f0a-4a1e8f6f0001", "event_id": "0f3f7b0e-6a52-4d5e-9f0a-4a1e8f6f0002", "jti": "0f3f7b0e-6a52-4d5e-9f0a-4a1e8f6f0003",
		"auth_time": now.Unix(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	token.Header["kid"] = keyID
	return token.SignedString(p.key)
}

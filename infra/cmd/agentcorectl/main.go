// Command agentcorectl creates, updates and deletes AgentCore resources from a specification, and pushes the agent's image.
//
// Standard input is one JSON object, standard output is exactly one, with sorted keys; progress goes to standard error.
// Exit status: 0 done, 1 failed, 2 wrong usage or specification, 3 not ready before -wait ended.
// AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL and its like lead it to another control plane.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/central-ops/central-ops/infra/internal/agentcore"
	"github.com/central-ops/central-ops/infra/internal/image"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const usage = `agentcorectl creates, updates and deletes AgentCore resources from a specification.

Usage:

	agentcorectl <resource> apply  [flags] < spec.json
	agentcorectl <resource> delete [flags] < spec.json

Resources: endpoint, gateway, image, provider, runtime, target

  -account id
    	refuse credentials of any other account
  -poll duration
    	pause between two looks at a status (default 2s)
  -region name
    	AWS region (default $AWS_REGION)
  -wait duration
    	how long to wait for the resource to be ready (default 10m0s)

Prints one JSON object on stdout and progress on stderr.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 not ready before -wait ended.

Example:

	echo '{"gatewayId":"central-ops-dev-abcdefghij","name":"bridge","lambdaArn":"arn:...","tools":[...]}' |
		agentcorectl target apply -region us-east-1
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	answer, err := do(ctx, args, getenv, stdin, stderr)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "agentcorectl: %v\n", err)
		return status(err, stderr)
	}
	text, err := sorted(answer)
	if err != nil {
		fmt.Fprintf(stderr, "agentcorectl: %v\n", err)
		return 1
	}
	fmt.Fprintf(stdout, "%s\n", text)
	return 0
}

type usageError struct{ error }

func status(err error, stderr io.Writer) int {
	var failure *agentcore.Error
	var wrong usageError
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "  try: agentcorectl -h")
		return 2
	case errors.As(err, &failure):
		if failure.Hint != "" {
			fmt.Fprintf(stderr, "  try: %s\n", failure.Hint)
		}
		return map[agentcore.Code]int{agentcore.Invalid: 2, agentcore.Failed: 1, agentcore.NotReady: 3}[failure.Code]
	}
	return 1
}

// sorted is the value's JSON with the keys of every object in order: maps are marshalled so.
func sorted(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var plain map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, err
	}
	return json.Marshal(plain)
}

func do(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stderr io.Writer) (any, error) {
	flags := flag.NewFlagSet("agentcorectl", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	region := flags.String("region", getenv("AWS_REGION"), "AWS `name` of the region")
	account := flags.String("account", "", "refuse credentials of any account but this `id`")
	poll := flags.Duration("poll", 2*time.Second, "pause between two looks at a status")
	wait := flags.Duration("wait", 10*time.Minute, "how long to wait")
	if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help") {
		return nil, flag.ErrHelp
	}
	if len(args) < 2 {
		return nil, usageError{errors.New("a resource and apply or delete are needed")}
	}
	kind, verb := args[0], args[1]
	resources := agentcore.Resources()
	if _, known := resources[kind]; !known && kind != "image" {
		return nil, usageError{fmt.Errorf("unknown resource %q; known: image, %s", kind, strings.Join(slices.Sorted(maps.Keys(resources)), ", "))}
	}
	if verb != "apply" && verb != "delete" {
		return nil, usageError{fmt.Errorf("unknown verb %q; known: apply, delete", verb)}
	}
	if err := flags.Parse(args[2:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, usageError{err}
	}
	if flags.NArg() > 0 {
		return nil, usageError{fmt.Errorf("unexpected argument %q; the specification is read from stdin", flags.Arg(0))}
	}
	if *region == "" {
		return nil, usageError{errors.New("no region: set -region or AWS_REGION")}
	}
	text, err := io.ReadAll(io.LimitReader(stdin, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("read specification: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()
	sdk, err := config.LoadDefaultConfig(ctx, config.WithRegion(*region))
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	if *account != "" {
		if err := owned(ctx, sts.NewFromConfig(sdk), verb+" "+kind, *account); err != nil {
			return nil, err
		}
	}
	if kind == "image" {
		return applyImage(ctx, sdk, verb, text, getenv)
	}
	client := agentcore.New(control.NewFromConfig(sdk), secretOf(cognitoidentityprovider.NewFromConfig(sdk)), stderr, *poll)
	if verb == "delete" {
		return resources[kind].Delete(ctx, client, text)
	}
	return resources[kind].Apply(ctx, client, text)
}

// owned refuses credentials of another account. The AWS provider of the program can have others than a command: aws:profile
// and aws:assumeRole lead the one and not the other, and a gateway in the wrong account is hard to find again.
func owned(ctx context.Context, client *sts.Client, op, account string) error {
	fail := func(err error) error {
		return &agentcore.Error{Op: op, Subject: "account " + account, Code: agentcore.Failed, Err: err,
			Hint: "set AWS_PROFILE, or keys, of that account in the environment of pulumi: commands do not read aws:profile"}
	}
	who, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fail(err)
	}
	if got := aws.ToString(who.Account); got != account {
		return fail(fmt.Errorf("the credentials are of account %s", got))
	}
	return nil
}

func secretOf(cognito *cognitoidentityprovider.Client) func(context.Context, string, string) (string, error) {
	return func(ctx context.Context, pool, client string) (string, error) {
		got, err := cognito.DescribeUserPoolClient(ctx, &cognitoidentityprovider.DescribeUserPoolClientInput{UserPoolId: &pool, ClientId: &client})
		if err != nil {
			return "", err
		}
		if aws.ToString(got.UserPoolClient.ClientSecret) == "" {
			return "", errors.New("the client has none")
		}
		return *got.UserPoolClient.ClientSecret, nil
	}
}

// imageSpec names the agent's binary and the repository that it goes to. Digest is what the program computed: another
// binary under that path is refused.
type imageSpec struct {
	Repository string `json:"repository"`
	Binary     string `json:"binary"`
	Digest     string `json:"digest"`
}

// applyImage pushes; deleting is the repository's business. AGENTCORECTL_REGISTRY, a host and port that speak plain HTTP,
// stands in for ECR's registry in tests.
func applyImage(ctx context.Context, sdk aws.Config, verb string, text []byte, getenv func(string) string) (any, error) {
	var spec imageSpec
	if err := agentcore.Decode(text, &spec); err != nil {
		return nil, &agentcore.Error{Op: verb + " image", Subject: "specification", Code: agentcore.Invalid, Err: err}
	}
	if verb == "delete" {
		return agentcore.Deleted{Deleted: true, Name: spec.Repository}, nil
	}
	fail := func(err error) error {
		return &agentcore.Error{Op: "apply image", Subject: spec.Repository, Code: agentcore.Failed, Err: err, Hint: "pulumi up builds the binary before it is pushed"}
	}
	img, err := image.Build(spec.Binary)
	if err != nil {
		return nil, fail(err)
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, fail(err)
	}
	if digest.String() != spec.Digest {
		return nil, fail(fmt.Errorf("the binary gives %s, the specification says %s", digest, spec.Digest))
	}
	if registry := getenv("AGENTCORECTL_REGISTRY"); registry != "" {
		_, path, _ := strings.Cut(spec.Repository, "/")
		if err := image.Push(ctx, registry+"/"+path, img, authn.Anonymous, name.Insecure); err != nil {
			return nil, fail(err)
		}
		return map[string]string{"digest": digest.String(), "uri": spec.Repository + "@" + digest.String()}, nil
	}
	token, err := ecr.NewFromConfig(sdk).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return nil, fail(err)
	}
	if len(token.AuthorizationData) == 0 {
		return nil, fail(errors.New("ECR gave no authorization"))
	}
	plain, err := base64.StdEncoding.DecodeString(aws.ToString(token.AuthorizationData[0].AuthorizationToken))
	if err != nil {
		return nil, fail(err)
	}
	user, password, _ := strings.Cut(string(plain), ":")
	if err := image.Push(ctx, spec.Repository, img, &authn.Basic{Username: user, Password: password}); err != nil {
		return nil, fail(err)
	}
	return map[string]string{"digest": digest.String(), "uri": spec.Repository + "@" + digest.String()}, nil
}

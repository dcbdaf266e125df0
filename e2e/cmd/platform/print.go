package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/central-ops/central-ops/e2e"
	"github.com/central-ops/central-ops/e2e/local"
)

// printStart says what is about to happen: until the platform is there, seconds pass in which nothing else is printed.
func printStart(w io.Writer, options local.Options) {
	fmt.Fprintln(w, "Starting Central Ops on this machine; AWS is emulated, nothing leaves 127.0.0.1 ...")
	if options.Model != local.Planner {
		fmt.Fprintln(w, "... except for the model that you chose.")
	}
}

// printAnswer shows the answer, and under it the proof: coverage and one receipt per target.
func printAnswer(w io.Writer, answer e2e.Answer) {
	if answer.Error != nil {
		fmt.Fprintf(w, "error: %s: %s\n", answer.Error.Code, answer.Error.Message)
		if answer.Error.Hint != "" {
			fmt.Fprintf(w, "  try: %s\n", answer.Error.Hint)
		}
		return
	}
	fmt.Fprintln(w, strings.TrimSpace(answer.Response))
	fmt.Fprintln(w, "\nWhat the bridge says was asked, whatever the answer says:")
	if c := answer.Coverage; c == nil || c.Targets == 0 {
		fmt.Fprintln(w, "  no account was asked")
	} else {
		targets := "targets"
		if c.Targets == 1 {
			targets = "target"
		}
		fmt.Fprintf(w, "  %d of %d %s answered; %d denied, %d failed, %d skipped\n", c.Answered, c.Targets, targets, c.Denied, c.Failed, c.Skipped)
	}
	for _, r := range answer.Receipts {
		fmt.Fprintf(w, "  %s %s %s: %s", r.AccountID, orDash(r.AccountName), orDash(r.Region), r.Status)
		if r.RoleARN != "" {
			fmt.Fprintf(w, ": %s as %s for %s, API calls: %d, %d ms", r.Operation, r.RoleARN, r.SourceIdentity, r.APICalls, r.DurationMS)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "Model turns: %d, tool calls: %d, tokens read: %d (%d from the cache), written: %d.\n",
		answer.Turns, answer.ToolCalls, answer.Usage.Read(), answer.Usage.CacheReadTokens, answer.Usage.OutputTokens)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printHowTo tells how to reach a running platform. The passwords are those of made-up people, made up at this start.
func printHowTo(w io.Writer, p *local.Platform, options local.Options, profile string) {
	s := p.Stack
	fmt.Fprintf(w, `Central Ops is running on this machine; AWS is emulated. Ctrl-C ends it.

  Runtime    %s
  Gateway    %s
  Cognito    %s  (pool %s, client %s)
  sign-in    %s  (pages for a browser)
  model      %s
  tokens     %s
  logs       %s

  people     group         may query     password
`, s.InvocationsURL(), s.GatewayURL, s.CognitoEndpoint, s.UserPoolID, s.ClientID, s.HostedUI, modelWords(options), tokenWords[s.GatewayAuth], options.LogDir)
	for _, person := range []struct{ name, group, scope string }{
		{"alice", "ops", "all accounts"}, {"bob", "viewers", "staging"}, {"carol", "prod-readers", "prod"},
	} {
		fmt.Fprintf(w, "  %-10s %-13s %-13s %s\n", person.name, person.group, person.scope, p.Passwords[person.name])
	}
	fmt.Fprintf(w, `
Get a token:

  TOKEN=$(curl -s '%s' -H 'Content-Type: application/x-amz-json-1.1' \
    -H 'X-Amz-Target: AWSCognitoIdentityProviderService.InitiateAuth' \
    -d '{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":"%s","AuthParameters":{"USERNAME":"alice","PASSWORD":"%s"}}' \
    | python3 -c 'import json,sys; print(json.load(sys.stdin)["AuthenticationResult"]["AccessToken"])')

Post the prompt:

  curl -s '%s' -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{"prompt":"List EC2 instances in account 222222222222"}'

Or use the client (build/centralops --help):

  build/centralops --profile-file %s login --username alice    # or --browser
  build/centralops --profile-file %s ask "How many S3 buckets are there in all accounts?"
`, s.CognitoEndpoint, s.ClientID, p.Passwords["alice"], s.InvocationsURL(), profile, profile)
}

// tokenWords says whose tokens the Gateway takes, by gatewayAuth.
var tokenWords = map[string]string{"user": "the Gateway takes people's", "workload": "the Gateway takes the agent's alone, which carry the person's beside them"}

// modelWords names what answers.
func modelWords(options local.Options) string {
	switch options.Model {
	case local.OpenAI:
		return options.ModelName + " at " + options.ModelEndpoint
	case local.Bedrock:
		return "Amazon Bedrock, with your AWS credentials"
	}
	return "offline planner: rules, not a language model; the README says how to take one instead"
}

// printAssumptions prints the table that docs/assumptions.md holds.
func printAssumptions(w io.Writer) {
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	fmt.Fprintln(w, "| id | stand-in | assumed | source | how to check on a real account |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- |")
	for _, row := range local.Assumptions() {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", cell.Replace(row.ID), cell.Replace(row.Where), cell.Replace(row.Assume),
			cell.Replace(row.Source), cell.Replace(row.Check))
	}
}

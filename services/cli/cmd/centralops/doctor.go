package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
	"github.com/central-ops/central-ops/services/cli/internal/bridge"
	"github.com/central-ops/central-ops/services/cli/internal/cognito"
	"github.com/central-ops/central-ops/services/cli/internal/gateway"
	"github.com/central-ops/central-ops/services/cli/internal/markdown"
	"github.com/central-ops/central-ops/services/cli/internal/profile"
)

// Outcomes of a check.
const (
	checkOK      = "ok"
	checkWarning = "warning" // works, or can't be seen from here; worth a look
	checkFailed  = "failed"
	checkSkipped = "skipped" // not tried, because something before it failed or the person said so
)

// check is one thing that doctor looked at.
type check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"` // the next step, when it failed
}

// checkup is one run of doctor. Its methods are the checks; each returns its outcome.
type checkup struct {
	profile profile.Profile
	tokens  bearer.Tokens
	http    *http.Client // sends the person's token
	plain   *http.Client // sends none
	noModel bool

	token    string
	claims   cognito.Claims
	gateway  *gateway.Client
	bridge   bridge.Caller
	tools    []gateway.Tool
	pages    int
	accounts []centralops.Account

	checks    []check
	onCheck   func(check)
	explained func(error) error // see app.explained
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON, noModel bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check a deployment from the outside",
		Long: `Checks everything between you and the accounts, in the order in which an answer travels, and says for each failure
what to do next. It changes nothing. One check asks the model a short question, which costs a few tokens.

At the end it reports what AWS's documents leave open and a read can settle: confirmed, refuted or unclear.`,
		Example: `  centralops doctor
  centralops doctor --json --no-model`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			p, store, configured := a.profile()
			var known *centralops.Error
			if configured != nil && !errors.As(configured, &known) {
				return configured
			}
			c := &checkup{profile: p, tokens: a.tokens(p, store), noModel: noModel,
				plain: bearer.NewPlainClient(), onCheck: func(check) {}, explained: a.explained}
			c.plain.Transport = patient{c.plain.Transport}
			c.http = bearer.NewClient(c.tokens)
			if !asJSON {
				c.onCheck = func(done check) { a.printCheck(done) }
			}
			c.run(ctx, configured)
			findings := c.findings(ctx)
			if asJSON {
				if err := a.printJSON(map[string]any{"checks": c.checks, "findings": findings}); err != nil {
					return err
				}
			} else {
				a.printSummary(c.checks)
				a.printFindings(findings)
			}
			return exit(c.exit())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&noModel, "no-model", false, "do not ask the model")
	timeoutFlag(cmd, &timeout, 3*time.Minute, "give up after this `time`")
	return cmd
}

// marks of outcomes, and their colours in a terminal.
var marks = map[string]struct{ mark, color string }{
	checkOK: {"✓", "\x1b[32m"}, checkWarning: {"!", "\x1b[33m"}, checkFailed: {"✗", "\x1b[31m"}, checkSkipped: {"-", "\x1b[2m"},
}

func (a *app) printCheck(c check) {
	style := a.style()
	mark := marks[c.Status].mark
	if style.Color {
		mark = marks[c.Status].color + mark + "\x1b[0m"
	}
	text := c.Detail
	if c.Next != "" {
		text += "; try: " + c.Next
	}
	io.WriteString(a.stdout, markdown.Hang(fmt.Sprintf("%s %-24s ", mark, markdown.CleanLine(c.Name)), markdown.CleanLine(text), style.Width))
}

// printSummary counts the outcomes.
func (a *app) printSummary(checks []check) {
	counts := map[string]int{}
	for _, c := range checks {
		counts[c.Status]++
	}
	line := fmt.Sprintf("%d checks: %d ok", len(checks), counts[checkOK])
	for _, status := range []string{checkWarning, checkFailed, checkSkipped} {
		if n := counts[status]; n > 0 {
			line += fmt.Sprintf(", %d %s", n, status)
		}
	}
	fmt.Fprintf(a.stdout, "\n%s.\n", line)
}

func (a *app) printFindings(findings []finding) {
	if len(findings) == 0 {
		return
	}
	width := a.style().Width
	fmt.Fprintf(a.stdout, "\n%s\n", markdown.Hang("", "What AWS's documents leave open, as seen here:", width))
	for _, f := range findings {
		io.WriteString(a.stdout, markdown.Hang(fmt.Sprintf("%-10s ", f.State), fmt.Sprintf("%s (%s)", f.Statement, markdown.CleanLine(f.Evidence)), width))
	}
}

// exit returns the exit status: failed if a check failed, but partial if all that failed is some of
// the target roles.
func (c *checkup) exit() int {
	status := centralops.ExitComplete
	usable := false
	for _, done := range c.checks {
		isRole := strings.HasPrefix(done.Name, rolePrefix)
		usable = usable || isRole && done.Status == checkOK
		if done.Status == checkFailed && isRole && status == centralops.ExitComplete {
			status = centralops.ExitPartial
		} else if done.Status == checkFailed && !isRole {
			status = centralops.ExitFailed
		}
	}
	if status == centralops.ExitPartial && !usable {
		return centralops.ExitFailed
	}
	return status
}

// maxDetail is the most characters that a check tells; what another program says in an error can be a whole page.
const maxDetail = 300

// clip returns at most n characters of s.
func clip(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return s
}

func (c *checkup) report(done check) {
	done.Detail = clip(done.Detail, maxDetail)
	c.checks = append(c.checks, done)
	c.onCheck(done)
}

// step runs one check, unless need is false; then it is skipped. It returns whether it went well.
func (c *checkup) step(name string, need bool, look func() (detail string, err error)) bool {
	if !need {
		c.report(check{Name: name, Status: checkSkipped, Detail: "because of what failed before"})
		return false
	}
	detail, err := look()
	var warned warning
	switch {
	case err == nil:
		c.report(check{Name: name, Status: checkOK, Detail: detail})
	case errors.As(err, &warned):
		c.report(check{Name: name, Status: checkWarning, Detail: warned.detail, Next: warned.next})
	default:
		done := check{Name: name, Status: checkFailed, Detail: err.Error(), Next: "centralops help settings"}
		var known *centralops.Error
		if errors.As(c.explained(err), &known) {
			done.Next = known.Hint
		}
		switch {
		case !strings.HasPrefix(done.Next, "centralops doctor"):
		case errors.Is(err, syscall.ECONNREFUSED):
			done.Next = "centralops configure --show, to check the address; on the local platform: make local in another terminal, then centralops configure --from-file build/local/profile.json"
		default: // that is what says so
			done.Next = "centralops doctor again in a minute; if it stays, the logs of the part that the check names (docs/runbook.md)"
		}
		c.report(done)
		return false
	}
	return true
}

// warning is the outcome of a check that found something worth a look.
type warning struct{ detail, next string }

func (w warning) Error() string { return w.detail }

// Names of the target role checks begin so; the account's id follows.
const rolePrefix = "target role "

// run makes all checks, in the order in which a question travels.
func (c *checkup) run(ctx context.Context, configured error) {
	configuration := c.step("configuration", true, func() (string, error) {
		return "profile " + c.profile.Name + ", Region " + c.profile.Region, configured
	})
	signedIn := c.step("sign-in", configuration, func() (string, error) { return c.signIn(ctx) })
	c.step("discovery document", configuration, func() (string, error) { return c.discovery(ctx) })
	c.step("token claims", signedIn, c.tokenClaims)
	c.step("Runtime refuses", configuration, func() (string, error) {
		return c.refusesStrangers(ctx, c.agent().URL(), `{"prompt":""}`)
	})
	runtime := c.step("Runtime", signedIn, func() (string, error) { return c.runtime(ctx) })
	c.step("Gateway refuses", configuration, func() (string, error) {
		return c.refusesStrangers(ctx, c.profile.GatewayURL, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`)
	})
	var target bool
	if c.profile.ByAgent() {
		target = c.step("Gateway tools/list", signedIn, func() (string, error) { return c.refusesPeople(ctx) })
		c.report(check{Name: "gateway target", Status: checkSkipped, Detail: "because " + agentOnly + "; the bridge is reached through it, below"})
	} else {
		listed := c.step("Gateway tools/list", signedIn, func() (string, error) { return c.listTools(ctx) })
		target = c.step("gateway target", listed, c.target)
	}
	if c.noModel {
		c.report(check{Name: "model access", Status: checkSkipped, Detail: "because of --no-model"})
	} else {
		// The agent asks the Gateway for its tools before it asks the model.
		c.step("model access", runtime && target, func() (string, error) { return c.model(ctx) })
	}
	bridge := c.step("bridge", target && (runtime || !c.profile.ByAgent()), func() (string, error) { return c.listAccounts(ctx) })
	c.roles(ctx, bridge)
	c.step("AWS MCP Server", bridge, func() (string, error) { return c.awsMCP(ctx) })
	c.step("AWS MCP tool list", configuration, func() (string, error) { return c.awsMCPTools(ctx) })
	c.step("quotas", bridge && len(c.accounts) > 0, func() (string, error) { return c.quotas(ctx) })
}

func (c *checkup) signIn(ctx context.Context) (string, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return "", err
	}
	c.token = token
	if c.claims, err = cognito.ParseClaims(token); err != nil {
		return "", problem(centralops.Unauthenticated, "centralops login", "the access token can't be read: %v", err)
	}
	c.gateway = &gateway.Client{URL: c.profile.GatewayURL, HTTP: c.http}
	c.bridge = wayToBridge(c.profile, c.http)
	return "as " + c.claims.Username + ", token until " + c.claims.Expires.UTC().Format(time.RFC3339), nil
}

// discovery looks at the document that the authorizers of Runtime and Gateway read.
func (c *checkup) discovery(ctx context.Context) (string, error) {
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if _, err := c.get(ctx, c.profile.DiscoveryURL, &document); err != nil {
		return "", err
	}
	const fix = "centralops configure, to check discovery_url and user_pool_id"
	if document.Issuer == "" || document.JWKSURI == "" {
		return "", problem(centralops.Invalid, fix, "%s has no issuer or no jwks_uri", c.profile.DiscoveryURL)
	}
	if c.claims.Issuer != "" && c.claims.Issuer != document.Issuer {
		return "", problem(centralops.Unauthenticated, fix, "it names the issuer %s, but your token is of %s", document.Issuer, c.claims.Issuer)
	}
	var keys struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	date, err := c.get(ctx, document.JWKSURI, &keys)
	if err != nil {
		return "", err
	}
	found := c.claims.KeyID == ""
	for _, key := range keys.Keys {
		found = found || key.ID == c.claims.KeyID
	}
	if !found {
		return "", problem(centralops.Unauthenticated, "centralops login", "none of its %d keys is the one that signed your token", len(keys.Keys))
	}
	// AWS and the bridge allow little; a wrong clock here also makes tokens look good that are not.
	const maxSkew = time.Minute
	if skew := time.Until(date).Abs(); !date.IsZero() && skew > maxSkew {
		return "", problem(centralops.Invalid, "to set this machine's clock", "this machine's clock is off by %v", skew.Truncate(time.Second))
	}
	return "issuer " + document.Issuer, nil
}

// get reads a JSON document without a token and returns the server's date.
func (c *checkup) get(ctx context.Context, url string, into any) (time.Time, error) {
	status, header, body, err := c.exchange(ctx, http.MethodGet, url, nil, "")
	if err != nil {
		return time.Time{}, err
	}
	if status != http.StatusOK {
		return time.Time{}, problem(centralops.NotFound, "centralops configure, to check discovery_url and user_pool_id", "%s answered %d", url, status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return time.Time{}, problem(centralops.Invalid, "centralops configure, to check discovery_url", "%s is no JSON object: %v", url, err)
	}
	date, _ := http.ParseTime(header.Get("Date")) // zero if there is none
	return date, nil
}

// maxToken is the size of a token that still fits into a Lambda function's client context (3,583
// bytes of base64 in all) beside what the Gateway puts there.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
const maxToken = 2000

// tokenClaims compares the token with what the authorizers of the deployment ask for.
func (c *checkup) tokenClaims() (string, error) {
	var faults []string
	if c.claims.Use != "access" {
		faults = append(faults, fmt.Sprintf("token_use is %q, not access", c.claims.Use))
	}
	if c.claims.ClientID != c.profile.ClientID {
		faults = append(faults, fmt.Sprintf("client_id is %q, but the profile and the authorizers have %s", c.claims.ClientID, c.profile.ClientID))
	}
	if !strings.HasSuffix(c.claims.Issuer, "/"+c.profile.UserPoolID) {
		faults = append(faults, fmt.Sprintf("iss is %q, not of user pool %s", c.claims.Issuer, c.profile.UserPoolID))
	}
	if !time.Now().Before(c.claims.Expires) {
		faults = append(faults, "it expired at "+c.claims.Expires.UTC().Format(time.RFC3339))
	}
	if len(c.token) > maxToken {
		faults = append(faults, fmt.Sprintf("it has %d bytes, and more than about %d do not travel to the bridge: fewer groups make it smaller", len(c.token), maxToken))
	}
	if len(faults) > 0 {
		return "", problem(centralops.Unauthenticated, "centralops login; if it stays so: centralops configure --from-stack <stack>", "%s", strings.Join(faults, "; "))
	}
	detail := fmt.Sprintf("%d bytes of at most %d, groups: %s", len(c.token), maxToken, first(strings.Join(c.claims.Groups, ", "), "none"))
	if len(c.claims.Groups) == 0 {
		return "", warning{detail, "your administrator, for a group: access is given by group"}
	}
	return detail, nil
}

// refusesStrangers sends a request without a token, which must be refused.
func (c *checkup) refusesStrangers(ctx context.Context, url, body string) (string, error) {
	status, header, _, err := c.exchange(ctx, http.MethodPost, url, sessionHeader(), body)
	if err != nil {
		return "", err
	}
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		if status == http.StatusNotFound {
			return "", problem(centralops.NotFound, "centralops configure, to check the ARN, the qualifier and the URLs", "%s answered 404", url)
		}
		return "", problem(centralops.Internal, "the authorizer of the deployment: pulumi preview", "a request without a token was answered with %d, not 401", status)
	}
	detail := fmt.Sprintf("a request without a token with %d", status)
	if header.Get("WWW-Authenticate") == "" {
		return "", warning{detail + " and no WWW-Authenticate: it may expect SigV4 instead of a token", "pulumi preview, to compare the authorizer"}
	}
	return detail, nil
}

// sessionHeader returns the session header for a probe of the Runtime.
func sessionHeader() http.Header {
	return http.Header{"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {centralops.NewSessionID()}}
}

// runtime asks nothing: the agent refuses an empty prompt as invalid, without a model. That answer
// proves that the Runtime took the token and the container runs.
func (c *checkup) runtime(ctx context.Context) (string, error) {
	began := time.Now()
	_, err := c.agent().Invoke(ctx, centralops.NewSessionID(), "", func(centralops.Event) {})
	var known *centralops.Error
	if errors.As(err, &known) && known.Code == centralops.Invalid && known.Err == nil {
		return fmt.Sprintf("the agent answers, new session in %d ms", time.Since(began).Milliseconds()), nil
	}
	if err == nil {
		return "", warning{"an empty question got an answer; the agent is of another version", "pulumi up, to deploy the agent"}
	}
	return "", err
}

func (c *checkup) model(ctx context.Context) (string, error) {
	began := time.Now()
	answer, err := c.agent().Invoke(ctx, centralops.NewSessionID(), "Reply with the single word ready. Call no tools.", func(centralops.Event) {})
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(answer.Response) == "" {
		return "", problem(centralops.Unavailable, "the log group of the agent", "the model answered nothing")
	}
	return fmt.Sprintf("the model answers in %d ms", time.Since(began).Milliseconds()), nil
}

// agentOnly is why people see nothing at the Gateway where gatewayAuth is workload.
const agentOnly = "the Gateway takes the agent's tokens alone"

// refusesPeople lists the tools with the person's token, which a Gateway that is for the agent alone must refuse.
func (c *checkup) refusesPeople(ctx context.Context) (string, error) {
	status, _, _, err := c.exchange(ctx, http.MethodPost, c.profile.GatewayURL, http.Header{"Authorization": {"Bearer " + c.token}}, toolsList)
	if err != nil {
		return "", err
	}
	if status != http.StatusUnauthorized && status != http.StatusForbidden {
		return "", problem(centralops.Invalid, "centralops configure --gateway-auth user; or, if the stack's gatewayAuth is workload, pulumi up",
			"your token was answered with %d, but with gateway_auth workload the Gateway takes the agent's alone", status)
	}
	return fmt.Sprintf("your token is refused with %d: %s", status, agentOnly), nil
}

func (c *checkup) listTools(ctx context.Context) (string, error) {
	var err error
	if c.tools, c.pages, err = c.gateway.Tools(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("tools: %d, pages: %d", len(c.tools), c.pages), nil
}

// bridgeToolNames are the tools of the bridge, services/bridge/tools.json.
var bridgeToolNames = []string{"list_accounts", "query", "search_documentation", "read_documentation", "retrieve_skill", "get_regional_availability"}

// maxToolName is the longest tool name that Bedrock takes.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html
const maxToolName = 64

func (c *checkup) target() (string, error) {
	const fix = "pulumi up, to create the gateway target again"
	prefix := gateway.Prefix(c.tools)
	if prefix == "" {
		return "", problem(centralops.NotFound, fix, "no target of the Gateway has the tool list_accounts")
	}
	var missing, long []string
	for _, name := range bridgeToolNames {
		if !slices.Contains(c.tools, gateway.Tool{Name: prefix + name}) {
			missing = append(missing, name)
		}
		if len(prefix+name) > maxToolName {
			long = append(long, prefix+name)
		}
	}
	if len(missing) > 0 {
		return "", problem(centralops.NotFound, fix, "the target %s lacks %s", prefix, strings.Join(missing, ", "))
	}
	if len(long) > 0 {
		return "", problem(centralops.Invalid, "a shorter name of the gateway target", "tool names longer than Bedrock takes: %s", strings.Join(long, ", "))
	}
	return strings.TrimSuffix(prefix, "___") + " has all tools", nil
}

func (c *checkup) listAccounts(ctx context.Context) (string, error) {
	var err error
	if c.accounts, err = listAccounts(ctx, c.bridge); err != nil {
		return "", err
	}
	if len(c.accounts) == 0 {
		return "", warning{"it takes your token, but there is no account that you may query", "centralops whoami, and the access policy of the deployment"}
	}
	return fmt.Sprintf("takes your token; accounts that you may query: %d", len(c.accounts)), nil
}

// roles reports each target role as a check of its own.
func (c *checkup) roles(ctx context.Context, bridge bool) {
	if !bridge || len(c.accounts) == 0 {
		c.step("target roles", false, nil)
		return
	}
	targets, err := probe(ctx, c.bridge)
	if err != nil {
		c.step("target roles", true, func() (string, error) { return "", err })
		return
	}
	for _, account := range c.accounts {
		c.step(rolePrefix+account.ID, true, func() (string, error) {
			i := slices.IndexFunc(targets, func(t centralops.Target) bool { return t.AccountID == account.ID })
			if i < 0 {
				return "", problem(centralops.Internal, "the log group of the bridge", "the bridge's answer does not name it")
			}
			if t := targets[i]; t.Status != "ok" {
				failed := problem(centralops.Forbidden, "pulumi -C infra/member up -s "+account.ID, "%s", why(t.Status, t.Error))
				if t.Error != nil {
					failed.Code, failed.Hint = t.Error.Code, first(t.Error.Hint, failed.Hint)
				}
				return "", failed
			}
			detail := account.Name
			if receipt := targets[i].Receipt; receipt != nil {
				detail += " as " + roleName(receipt.RoleARN)
			}
			return strings.TrimSpace(detail), nil
		})
	}
}

// awsMCP asks the AWS MCP Server, through the bridge, something that needs no account.
func (c *checkup) awsMCP(ctx context.Context) (string, error) {
	if _, err := c.bridge.Bridge(ctx, "search_documentation", map[string]any{"search_phrase": "AssumeRole", "limit": 1}); err != nil {
		return "", err
	}
	return "the bridge reaches it", nil
}

// awsMCPNeeds are the tools of the AWS MCP Server that the bridge calls.
var awsMCPNeeds = []string{"aws___run_script", "aws___search_documentation", "aws___read_documentation", "aws___retrieve_skill", "aws___get_regional_availability"}

// awsMCPTools lists the server's tools; that needs no signature.
func (c *checkup) awsMCPTools(ctx context.Context) (string, error) {
	if c.profile.MCPEndpoint == "" {
		return "", warning{"not listed: the profile has no mcp_endpoint", "centralops configure --mcp-endpoint <url>"}
	}
	client := &gateway.Client{Name: "the AWS MCP Server", URL: c.profile.MCPEndpoint, HTTP: c.plain}
	tools, _, err := client.Tools(ctx)
	if code := centralops.CodeOf(err); code == centralops.Unauthenticated || code == centralops.Forbidden {
		return "", warning{"not listed: it wants a signature for that", "the check before this one, which goes through the bridge"}
	}
	if err != nil {
		return "", err
	}
	var missing []string
	for _, name := range awsMCPNeeds {
		if !slices.Contains(tools, gateway.Tool{Name: name}) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return "", problem(centralops.NotFound, "a newer release of the bridge", "%s lacks %s", c.profile.MCPEndpoint, strings.Join(missing, ", "))
	}
	return fmt.Sprintf("%d tools, with all that the bridge calls", len(tools)), nil
}

// The quota of concurrent executions of Lambda functions: interceptor and bridge take one each per
// tool call. New accounts begin with less than the usual 1,000.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const (
	lambdaConcurrency    = "L-B99A9384"
	minLambdaConcurrency = 100
)

// quotas reads the quota that a new account meets first, in the account of the Runtime.
func (c *checkup) quotas(ctx context.Context) (string, error) {
	parts := strings.Split(c.profile.RuntimeARN, ":")
	home := parts[4] // arn:partition:service:region:account:resource, checked by the profile
	if !slices.ContainsFunc(c.accounts, func(a centralops.Account) bool { return a.ID == home }) {
		return "", warning{"not read: you may not query account " + home + ", where the deployment is", "an administrator of it: aws service-quotas list-service-quotas --service-code lambda"}
	}
	targets, err := query(ctx, c.bridge, map[string]any{"accounts": []string{home}, "regions": []string{c.profile.Region}, "service": "service-quotas", "operation": "ListServiceQuotas",
		"params": map[string]any{"ServiceCode": "lambda"}, "select": "Quotas[?QuotaCode=='" + lambdaConcurrency + "'].Value"})
	reason := ""
	if err != nil {
		reason = err.Error()
	} else if len(targets) == 0 || targets[0].Status != "ok" {
		reason = "the account did not answer"
		if len(targets) > 0 {
			reason = why(targets[0].Status, targets[0].Error)
		}
	} else {
		var values []float64
		if err := json.Unmarshal(targets[0].Data, &values); err != nil || len(values) == 0 {
			reason = "the answer has no such quota"
		} else if values[0] < minLambdaConcurrency {
			return "", problem(centralops.Throttled, "a higher quota: aws service-quotas request-service-quota-increase --service-code lambda --quota-code "+lambdaConcurrency,
				"Lambda runs at most %.0f functions at once", values[0])
		} else {
			return fmt.Sprintf("Lambda runs %.0f functions at once", values[0]), nil
		}
	}
	return "", warning{"not read: " + clip(reason, maxDetail/3), "aws service-quotas list-service-quotas --service-code lambda, in account " + home}
}

// throttled are the pauses before a probe is repeated that was answered with 429.
var throttled = []time.Duration{time.Second, 2 * time.Second}

// patient repeats requests that are throttled: the AWS MCP Server takes five unsigned ones a second from an address, which
// many people may share and doctor alone can exceed.
// https://docs.aws.amazon.com/agent-toolkit/latest/userguide/aws-mcp-limits.html
type patient struct{ base http.RoundTripper }

func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		resp, err := p.base.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || attempt == len(throttled) {
			return resp, err
		}
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			if again.Body, err = req.GetBody(); err != nil {
				return resp, nil
			}
		}
		select {
		case <-req.Context().Done():
			return resp, nil // the refusal says more than that the time is up
		case <-time.After(throttled[attempt]):
			resp.Body.Close()
			req = again
		}
	}
}

// problem returns the error of a check, with its next step.
func problem(code centralops.Code, next, format string, args ...any) *centralops.Error {
	return &centralops.Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: next}
}

// maxProbe is how many bytes of an answer to a probe are read.
const maxProbe = 1 << 20

// exchange sends one request with the header given, and no token but what is in it.
func (c *checkup) exchange(ctx context.Context, method, url string, header http.Header, body string) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, problem(centralops.Invalid, "centralops configure", "%v", err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
	}
	resp, err := c.plain.Do(req)
	if err != nil {
		return 0, nil, nil, bearer.TransportError("", url, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxProbe))
	if err != nil {
		return 0, nil, nil, bearer.TransportError("", url, err)
	}
	return resp.StatusCode, resp.Header, raw, nil
}

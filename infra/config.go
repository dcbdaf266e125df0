package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/central-ops/central-ops/infra/internal/settings"
)

// Account is an AWS account that people may ask about.
type Account struct {
	ID          string            `json:"id"` // 12 digits
	Name        string            `json:"name"`
	Role        string            `json:"role,omitempty"` // central (the environment's own) or member, the default
	Environment string            `json:"environment,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Config is the configuration of one environment; each field is the key central-ops:<name> of its stack.
type Config struct {
	Environment            string              // environment: dev (default), staging or prod; part of every name
	Region                 string              // aws:region: us-east-1 by default
	Accounts               []Account           // accounts, or accountsFile with {"accounts":[...]}
	Access                 map[string][]string // access: group -> account ids, names, env:<environment> or all
	AccessPolicies         string              // accessPolicies: Cedar text besides access
	OrganizationID         string              // organizationId: o-...
	ExternalID             string              // externalId
	GatewayAuth            string              // gatewayAuth: user (default) or workload
	Model                  string              // model: inference profile id
	Guardrail              string              // guardrail: id:version
	TargetRole             string              // targetRole: CentralOpsTargetRole by default
	MCPEndpoint            string              // mcpEndpoint
	MFA                    string              // mfa: OFF, OPTIONAL (default) or ON
	RetentionDays          int                 // retentionDays: 30 by default
	BridgeMemory           int                 // bridgeMemoryMB: 512 by default
	ProvisionedConcurrency int                 // provisionedConcurrency: 0 by default
	DailyTokens            int                 // dailyTokens: alarm above so many model tokens a day; 0 for none
	MonthlyBudgetUSD       int                 // monthlyBudgetUSD: mail when the account's month costs, or will cost, more; 0 for none
	AlarmEmail             string              // alarmEmail: gets the alarms; "" for nobody
	DeletionProtection     bool                // deletionProtection: keep people and images from deletion
	GatewayLogs            bool                // gatewayLogs: true by default; they hold request and response bodies, for 7 days at most
	Traces                 bool                // traces: false by default; send spans to X-Ray, which needs Transaction Search
	OrganizationalUnits    []string            // stackSetOUs: roll the target role out to these
	StackSetCaller         string              // stackSetCallAs: SELF (default, the management account) or DELEGATED_ADMIN
	PermissionsBoundary    string              // permissionsBoundary: ARN of a policy that bounds every role of the environment
	AllowedAccount         string              // allowedAccountId: refuse to deploy into any other account
	CallbackURLs           []string            // callbackUrls of browser sign-in
	Tags                   map[string]string   // tags on everything
}

var (
	units        = regexp.MustCompile(`^(ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32})$`)
	environments = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`) // of accounts
	guardrails   = settings.Pattern{Regexp: regexp.MustCompile(`^[a-z0-9]+:([0-9]+|DRAFT)$`), Rule: "must be <guardrail id>:<version>"}
	tagKeys      = regexp.MustCompile(`^[\p{L}\p{N}_.:/=+@ -]{1,128}$`)
	tagValues    = regexp.MustCompile(`^[\p{L}\p{N}_.:/=+@ -]{0,256}$`)
	groupNames   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)
	models       = settings.Pattern{Regexp: regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9.:-]{1,255}$`), Rule: "must be the id of an inference profile, such as us.anthropic.claude-sonnet-5"}
)

// regions are those that have both the AgentCore Runtime and Gateway.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/agentcore-regions.html
var regions = []string{"ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "eu-central-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2"}

// retentions are the days that CloudWatch Logs knows.
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
var retentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// reader gathers every fault instead of ending at the first, and every key that is asked for.
type reader struct {
	values func(key string) string
	known  []string
	faults []error
}

func (r *reader) get(key string) string {
	if !slices.Contains(r.known, key) {
		r.known = append(r.known, key)
	}
	return r.values(key)
}

func (r *reader) fault(path, rule string, value any) {
	r.faults = append(r.faults, fmt.Errorf("%s: %s: got %s", path, rule, quote(value)))
}

func quote(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

func (r *reader) text(key, fallback string) string {
	if v := r.get(key); v != "" {
		return v
	}
	return fallback
}

// matching is "" when nothing is set.
func (r *reader) matching(key string, pattern settings.Pattern) string {
	v := r.get(key)
	if v != "" && !pattern.MatchString(v) {
		r.fault("central-ops:"+key, pattern.Rule, v)
	}
	return v
}

func (r *reader) oneOf(key, fallback string, known ...string) string {
	v := r.text(key, fallback)
	if !slices.Contains(known, v) {
		r.fault("central-ops:"+key, "must be one of "+strings.Join(known, ", "), v)
	}
	return v
}

func (r *reader) number(key string, fallback, low, high int) int {
	v := r.get(key)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		r.fault("central-ops:"+key, fmt.Sprintf("must be a whole number from %d to %d", low, high), v)
	}
	return n
}

func (r *reader) flag(key, fallback string) bool {
	v := r.text(key, fallback)
	if v != "true" && v != "false" {
		r.fault("central-ops:"+key, "must be true or false", v)
	}
	return v == "true"
}

func (r *reader) object(key string, into any) {
	v := r.get(key)
	if v == "" {
		return
	}
	if err := strict(v, into); err != nil {
		r.fault("central-ops:"+key, "must be as docs/deploy.md shows ("+err.Error()+")", v)
	}
}

// strict reads one JSON value without unknown members.
func strict(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after it")
	}
	return nil
}

// ParseConfig reads the configuration. get returns the text of central-ops:<key>, JSON for objects and lists, "" for what
// is not set; keys are the keys that are set; region is aws:region; readFile reads accountsFile. The error holds every fault,
// each with path, rule and value.
func ParseConfig(get func(key string) string, keys []string, region string, readFile func(string) ([]byte, error)) (Config, error) {
	r := &reader{values: get}
	c := Config{
		Environment:            r.oneOf("environment", "dev", "dev", "staging", "prod"),
		Region:                 region,
		OrganizationID:         r.matching("organizationId", settings.OrganizationID),
		ExternalID:             r.matching("externalId", settings.ExternalID),
		GatewayAuth:            r.oneOf("gatewayAuth", "user", "user", "workload"),
		Model:                  r.matching("model", models),
		Guardrail:              r.matching("guardrail", guardrails),
		TargetRole:             r.matching("targetRole", settings.RoleName),
		MCPEndpoint:            r.text("mcpEndpoint", "https://aws-mcp.us-east-1.api.aws/mcp"),
		MFA:                    r.oneOf("mfa", "OPTIONAL", "OFF", "OPTIONAL", "ON"),
		RetentionDays:          r.number("retentionDays", 30, 1, 3653),
		BridgeMemory:           r.number("bridgeMemoryMB", 512, 128, 10240),
		ProvisionedConcurrency: r.number("provisionedConcurrency", 0, 0, 1000),
		DailyTokens:            r.number("dailyTokens", 0, 0, 1_000_000_000),
		MonthlyBudgetUSD:       r.number("monthlyBudgetUSD", 0, 0, 10_000_000),
		AlarmEmail:             r.get("alarmEmail"),
		DeletionProtection:     r.flag("deletionProtection", "false"),
		GatewayLogs:            r.flag("gatewayLogs", "true"),
		Traces:                 r.flag("traces", "false"),
		StackSetCaller:         r.oneOf("stackSetCallAs", "SELF", "SELF", "DELEGATED_ADMIN"),
		PermissionsBoundary:    r.matching("permissionsBoundary", settings.Boundary),
		AllowedAccount:         r.matching("allowedAccountId", settings.AccountID),
		AccessPolicies:         r.get("accessPolicies"),
		CallbackURLs:           []string{"http://localhost:8976/callback"},
	}
	c.Region = cmp.Or(c.Region, "us-east-1")
	c.Model = cmp.Or(c.Model, defaultModel(c.Region))
	c.TargetRole = cmp.Or(c.TargetRole, "CentralOpsTargetRole")
	if !slices.Contains(regions, c.Region) {
		r.fault("aws:region", "must be a Region with AgentCore: "+strings.Join(regions, ", "), c.Region)
	}
	if !slices.Contains(retentions, c.RetentionDays) {
		r.fault("central-ops:retentionDays", "must be a period of CloudWatch Logs, such as 7, 30, 90, 365", c.RetentionDays)
	}
	if u, err := url.Parse(c.MCPEndpoint); err != nil || u.Scheme != "https" || u.Host == "" {
		r.fault("central-ops:mcpEndpoint", "must be an https URL", c.MCPEndpoint)
	}
	if c.AlarmEmail != "" && !strings.Contains(c.AlarmEmail, "@") {
		r.fault("central-ops:alarmEmail", "must be an e-mail address", c.AlarmEmail)
	}
	if c.MonthlyBudgetUSD > 0 && c.AlarmEmail == "" {
		r.fault("central-ops:monthlyBudgetUSD", "needs central-ops:alarmEmail, which is told", c.MonthlyBudgetUSD)
	}
	r.object("access", &c.Access)
	r.object("tags", &c.Tags)
	r.object("stackSetOUs", &c.OrganizationalUnits)
	r.object("callbackUrls", &c.CallbackURLs)
	for i, unit := range c.OrganizationalUnits {
		if !units.MatchString(unit) {
			r.fault(fmt.Sprintf("central-ops:stackSetOUs[%d]", i), "must be an organizational unit or root", unit)
		}
	}
	for i, callback := range c.CallbackURLs {
		if u, err := url.Parse(callback); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost") {
			r.fault(fmt.Sprintf("central-ops:callbackUrls[%d]", i), "must be an https URL, or http on localhost", callback)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Tags)) {
		if !tagKeys.MatchString(key) || strings.HasPrefix(strings.ToLower(key), "aws:") || strings.HasPrefix(key, "central-ops:") {
			r.fault("central-ops:tags", "a key must have 1 to 128 letters, digits, spaces or any of _.:/=+@-, and begin neither with aws: nor with central-ops:", key)
		}
		if !tagValues.MatchString(c.Tags[key]) {
			r.fault("central-ops:tags."+key, "must have at most 256 letters, digits, spaces or any of _.:/=+@-", c.Tags[key])
		}
	}
	r.accounts(&c, readFile)
	r.access(c)
	return c, errors.Join(append(r.faults, settings.Unknown("central-ops", keys, r.known)...)...)
}

func (r *reader) accounts(c *Config, readFile func(string) ([]byte, error)) {
	file := r.get("accountsFile")
	switch {
	case file != "" && r.get("accounts") != "":
		r.fault("central-ops:accountsFile", "cannot be set together with central-ops:accounts", file)
	case file != "":
		text, err := readFile(file)
		if err != nil {
			r.fault("central-ops:accountsFile", "must be a readable file ("+err.Error()+")", file)
			return
		}
		var content struct {
			Accounts []Account `json:"accounts"`
		}
		if err := strict(string(text), &content); err != nil {
			r.fault("central-ops:accountsFile", `must hold {"accounts":[{"id","name","role","environment"}]} (`+err.Error()+")", file)
		}
		c.Accounts = content.Accounts
	default:
		r.object("accounts", &c.Accounts)
	}
	if len(c.Accounts) == 0 {
		r.fault("central-ops:accounts", "must have at least one account, here or in central-ops:accountsFile", c.Accounts)
	}
	ids, named := map[string]bool{}, map[string]bool{}
	for i := range c.Accounts {
		a, path := &c.Accounts[i], fmt.Sprintf("central-ops:accounts[%d]", i)
		if !settings.AccountID.MatchString(a.ID) {
			r.fault(path+".id", settings.AccountID.Rule, a.ID)
		}
		if ids[a.ID] {
			r.fault(path+".id", "must be there once", a.ID)
		}
		if a.Name == "" || named[strings.ToLower(a.Name)] {
			r.fault(path+".name", "must be there and be the only one", a.Name)
		}
		// As the bridge reads selectors: without spaces around them and, but for names, in any case.
		if lower := strings.ToLower(a.Name); lower == "all" || strings.HasPrefix(lower, "env:") || a.Name != "" && strings.Trim(a.Name, "0123456789") == "" {
			r.fault(path+".name", "must not look like all, env:<environment> or an account's id: it could not be told from them", a.Name)
		}
		if strings.TrimSpace(a.Name) != a.Name {
			r.fault(path+".name", "must not begin or end with a space", a.Name)
		}
		ids[a.ID], named[strings.ToLower(a.Name)] = true, true
		if a.Environment != "" && !environments.MatchString(a.Environment) {
			r.fault(path+".environment", "must have at most 64 letters, digits or any of _.-", a.Environment)
		}
		if a.Role == "" {
			a.Role = "member"
		}
		if a.Role != "member" && a.Role != "central" {
			r.fault(path+".role", "must be central or member", a.Role)
		}
	}
}

// access checks the selectors and the compiled policies.
func (r *reader) access(c Config) {
	if len(slices.Concat(slices.Collect(maps.Values(c.Access))...)) == 0 && strings.TrimSpace(c.AccessPolicies) == "" {
		r.fault("central-ops:access", "must let at least one group ask about accounts: no policy, no access", c.Access)
	}
	for _, group := range slices.Sorted(maps.Keys(c.Access)) {
		path := "central-ops:access." + group
		if !groupNames.MatchString(group) {
			r.fault(path, "must be a group name of letters, digits or any of _.-", group)
		}
		for i, selector := range c.Access[group] {
			if _, err := selected(c.Accounts, selector); err != nil {
				r.fault(fmt.Sprintf("%s[%d]", path, i), err.Error(), selector)
			}
		}
	}
	if _, err := cedar.NewPolicySetFromBytes("access", []byte(c.Cedar())); err != nil {
		r.fault("central-ops:accessPolicies", "must be Cedar ("+err.Error()+")", c.AccessPolicies)
	}
}

// selected is the Cedar condition on resource that a selector stands for, "" for every account.
func selected(accounts []Account, selector string) (string, error) {
	if selector == "all" {
		return "", nil
	}
	if environment, ok := strings.CutPrefix(selector, "env:"); ok {
		for _, a := range accounts {
			if a.Environment == environment {
				return "resource.environment == " + quote(environment), nil
			}
		}
		return "", errors.New("must name the environment of an account")
	}
	for _, a := range accounts {
		if a.ID == selector || strings.EqualFold(a.Name, selector) {
			return "resource == Account::" + quote(a.ID), nil
		}
	}
	return "", errors.New("must be an account's id or name, env:<environment> or all")
}

// Cedar is the access policy of the bridge: one permit for each group, then the policies of the configuration.
func (c Config) Cedar() string {
	var b strings.Builder
	for _, group := range slices.Sorted(maps.Keys(c.Access)) {
		var conditions []string
		everything := false
		for _, selector := range c.Access[group] {
			condition, err := selected(c.Accounts, selector)
			if err != nil {
				continue // access has told
			}
			everything = everything || condition == ""
			conditions = append(conditions, condition)
		}
		if len(conditions) == 0 {
			continue
		}
		fmt.Fprintf(&b, "@id(%s)\npermit(principal in Group::%s, action == Action::\"query\", resource)", quote("access-"+group), quote(group))
		if !everything {
			fmt.Fprintf(&b, " when { %s }", strings.Join(conditions, " || "))
		}
		b.WriteString(";\n")
	}
	return b.String() + c.AccessPolicies
}

// defaultModel is the Sonnet 5 inference profile of the Region's geography, so that data stays in it; the global one where
// there is none. The agent chooses the same when no model is set.
// https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
func defaultModel(region string) string {
	const model = "anthropic.claude-sonnet-5"
	switch {
	case strings.HasPrefix(region, "us-"):
		return "us." + model
	case strings.HasPrefix(region, "eu-"):
		return "eu." + model
	case region == "ap-southeast-2" || region == "ap-southeast-4":
		return "au." + model
	}
	return "global." + model
}

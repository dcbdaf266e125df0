// Package config reads the bridge's configuration from environment variables.
//
// Every variable is documented at its field. FromEnv is pure: it reads through the function it is
// given, touches no network, and reports every fault at once.
package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/central-ops/central-ops/services/bridge"
)

// Config is the bridge's configuration, valid as FromEnv returns it without an error.
type Config struct {
	// Accounts are the accounts of TARGET_ACCOUNTS, a JSON array of {"id","name","environment","tags"}.
	// Exactly one of TARGET_ACCOUNTS and ACCOUNTS_TABLE must be set.
	Accounts []bridge.Account
	// AccountsTable is ACCOUNTS_TABLE: the DynamoDB table that holds the same items.
	AccountsTable string
	// TargetRoleName is TARGET_ROLE_NAME: the role, path included, that the bridge assumes in each
	// account. Default CentralOpsTargetRole.
	TargetRoleName string
	// ExternalID is EXTERNAL_ID, sent with each AssumeRole. Optional.
	ExternalID string
	// Environment is ENVIRONMENT: dev, staging or prod. Part of the role session name. Default dev.
	Environment string
	// Endpoint is AWS_MCP_ENDPOINT. Default https://aws-mcp.us-east-1.api.aws/mcp.
	Endpoint string
	// SigningRegion is AWS_MCP_REGION, or else the Region in the endpoint's host name, or else Region.
	SigningRegion string
	// TokenIssuer is TOKEN_ISSUER: the iss of user tokens.
	TokenIssuer string
	// TokenClientIDs is TOKEN_CLIENT_IDS: the client_id values taken, separated by commas.
	TokenClientIDs []string
	// TokenJWKSURL is TOKEN_JWKS_URL. Default: the issuer's /.well-known/jwks.json.
	TokenJWKSURL string
	// Policy is ACCESS_POLICY: Cedar policies. Exactly one of ACCESS_POLICY and
	// ACCESS_POLICY_PARAMETER must be set.
	Policy string
	// PolicyParameter is ACCESS_POLICY_PARAMETER: an SSM parameter's name or ARN, or an s3://bucket/key
	// URI, that holds the policies. Read at first use and once a minute.
	PolicyParameter string
	// SessionTable is SESSION_TABLE: the DynamoDB table in which MCP session ids are shared between
	// execution environments. Optional.
	SessionTable string
	// AllowDataReads is ALLOW_DATA_READS: reads of user data (object contents, queue messages, table
	// items) that are to be permitted all the same, as "service:Operation", a JSON array or separated
	// by commas. Default: none.
	AllowDataReads []string
	// Concurrency is FANOUT_CONCURRENCY: accounts asked at a time, 1 to 256. Default: one for each 2 MB of
	// MemoryMB, at least 64. A session that has to be started takes some 10 s of a query's 28, so that of accounts
	// that are all cold no more than twice as many are reached.
	Concurrency int
	// MaxBytes is RESULT_MAX_BYTES: the size of an answer over which rows are left out, 4,096 to
	// 5,000,000. Default 262144, which is some 80,000 tokens.
	MaxBytes int
	// LogLevel is LOG_LEVEL: debug, info, warn or error. Default info.
	LogLevel slog.Level
	// Tracing says whether OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; the
	// exporter reads them, and the other OTEL_ variables, by itself.
	Tracing bool
	// Region is AWS_REGION: the bridge's own Region.
	Region string
	// RuntimeAPI is AWS_LAMBDA_RUNTIME_API, host and port. Lambda sets it.
	RuntimeAPI string
	// MemoryMB is AWS_LAMBDA_FUNCTION_MEMORY_SIZE. Lambda sets it; 0 elsewhere.
	MemoryMB int
}

// The defaults.
const (
	DefaultTargetRoleName = "CentralOpsTargetRole"
	DefaultEnvironment    = "dev"
	DefaultEndpoint       = "https://aws-mcp.us-east-1.api.aws/mcp"
	LeastConcurrency      = 64 // of the default
	MostConcurrency       = 256
	DefaultMaxBytes       = 256 << 10
)

var (
	regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
	readPattern   = regexp.MustCompile(`^[a-zA-Z0-9-]+:[a-zA-Z0-9]+$`)

	roleFormat       = format{1, 512, regexp.MustCompile(`^[\w+=,.@/-]*$`)}
	tableFormat      = format{3, 1000, regexp.MustCompile(`^[a-zA-Z0-9_.:/-]*$`)} // a name or an ARN
	externalIDFormat = format{2, 1224, regexp.MustCompile(`^[\w+=,.@:/-]*$`)}
)

// format is a length in bytes and an alphabet. The length doesn't stand in the expression because
// that becomes as large as the number: three such ones took a quarter of the time to the first poll.
type format struct {
	least, most int
	alphabet    *regexp.Regexp
}

func (f format) matches(s string) bool {
	return len(s) >= f.least && len(s) <= f.most && f.alphabet.MatchString(s)
}

// SessionName is the role session name: the same for every account, person and invocation of an
// environment, because the AWS MCP Server binds a session to role id and role session name
// (https://github.com/aws/mcp-proxy-for-aws/issues/299).
func (c Config) SessionName() string { return "central-ops-" + c.Environment }

// FromEnv reads the configuration through getenv. Its error joins all faults, one a line, each
// naming the variable, the rule and the value, unless that may be secret; with one, Config is what was read.
func FromEnv(getenv func(string) string) (Config, error) {
	r := reader{getenv: getenv}
	c := Config{
		AccountsTable:   r.text("ACCOUNTS_TABLE", "", tableFormat.matches, "a DynamoDB table name or ARN"),
		TargetRoleName:  r.text("TARGET_ROLE_NAME", DefaultTargetRoleName, roleFormat.matches, "a role name of letters, digits and +=,.@_-, a path before it allowed"),
		ExternalID:      r.secret("EXTERNAL_ID", externalIDFormat.matches, "2 to 1,224 of letters, digits and +=,.@:/_-"),
		Environment:     r.oneOf("ENVIRONMENT", DefaultEnvironment, "staging", "prod"),
		Endpoint:        r.url("AWS_MCP_ENDPOINT", DefaultEndpoint),
		SigningRegion:   r.text("AWS_MCP_REGION", "", regionPattern.MatchString, "a Region such as us-east-1"),
		TokenIssuer:     r.url("TOKEN_ISSUER", ""),
		TokenClientIDs:  r.list("TOKEN_CLIENT_IDS", true),
		TokenJWKSURL:    r.url("TOKEN_JWKS_URL", "-"),
		Policy:          strings.TrimSpace(getenv("ACCESS_POLICY")),
		PolicyParameter: strings.TrimSpace(getenv("ACCESS_POLICY_PARAMETER")),
		SessionTable:    r.text("SESSION_TABLE", "", tableFormat.matches, "a DynamoDB table name or ARN"),
		AllowDataReads:  r.list("ALLOW_DATA_READS", false),
		MaxBytes:        r.number("RESULT_MAX_BYTES", DefaultMaxBytes, 4096, 5_000_000),
		LogLevel:        r.level("LOG_LEVEL"),
		Tracing:         r.url("OTEL_EXPORTER_OTLP_ENDPOINT", "-")+r.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "-") != "",
		Region:          r.region(),
		RuntimeAPI:      r.get("AWS_LAMBDA_RUNTIME_API"),
		MemoryMB:        r.number("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0, 0, 1<<20),
	}
	c.Concurrency = r.number("FANOUT_CONCURRENCY", min(max(c.MemoryMB/2, LeastConcurrency), MostConcurrency), 1, MostConcurrency)
	c.Accounts = r.accounts("TARGET_ACCOUNTS")
	if (strings.TrimSpace(getenv("TARGET_ACCOUNTS")) == "") == (c.AccountsTable == "") {
		r.fault("TARGET_ACCOUNTS, ACCOUNTS_TABLE: exactly one must be set")
	}
	if (c.Policy == "") == (c.PolicyParameter == "") {
		r.fault("ACCESS_POLICY, ACCESS_POLICY_PARAMETER: exactly one must be set; without a policy nobody may ask anything")
	}
	for _, read := range c.AllowDataReads {
		if !readPattern.MatchString(read) {
			r.fault("ALLOW_DATA_READS: %q is not service:Operation, such as s3:GetObject", read)
		}
	}
	if c.TokenJWKSURL == "" && c.TokenIssuer != "" {
		c.TokenJWKSURL = strings.TrimSuffix(c.TokenIssuer, "/") + "/.well-known/jwks.json"
	}
	if c.SigningRegion == "" {
		c.SigningRegion = regionOfHost(c.Endpoint, c.Region)
	}
	return c, errors.Join(r.faults...)
}

// regionOfHost returns the Region label of endpoint's host name, as in aws-mcp.eu-west-1.api.aws.
func regionOfHost(endpoint, otherwise string) string {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return otherwise
	}
	for label := range strings.SplitSeq(parsed.Hostname(), ".") {
		if regionPattern.MatchString(label) {
			return label
		}
	}
	return otherwise
}

type reader struct {
	getenv func(string) string
	faults []error
}

func (r *reader) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

func (r *reader) get(name string) string { return strings.TrimSpace(r.getenv(name)) }

func (r *reader) text(name, otherwise string, fits func(string) bool, rule string) string {
	value := r.get(name)
	if value == "" {
		return otherwise
	}
	if !fits(value) {
		r.fault("%s: must be %s, got %q", name, rule, value)
	}
	return value
}

// secret is text whose value no message shows.
func (r *reader) secret(name string, fits func(string) bool, rule string) string {
	value := r.get(name)
	if value != "" && !fits(value) {
		r.fault("%s: must be %s, got %d characters that are not", name, rule, len(value))
	}
	return value
}

// oneOf reads one of some words, the first of which is the default.
func (r *reader) oneOf(name, otherwise string, others ...string) string {
	value := r.get(name)
	if value != "" && value != otherwise && !slices.Contains(others, value) {
		r.fault("%s: must be one of %s, %s, got %q", name, otherwise, strings.Join(others, ", "), value)
	}
	return cmp.Or(value, otherwise)
}

// url reads an absolute URL; otherwise "" makes it required, "-" optional.
func (r *reader) url(name, otherwise string) string {
	value := r.get(name)
	if value == "" {
		if otherwise == "" {
			r.fault("%s: must be set to an http or https URL", name)
		}
		return strings.TrimPrefix(otherwise, "-")
	}
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.User != nil || parsed.Fragment != "" {
		if strings.Contains(value, "@") { // before it may stand a password
			r.fault("%s: must be an http or https URL without user name and password", name)
		} else {
			r.fault("%s: must be an http or https URL, got %q", name, value)
		}
	}
	return value
}

// list reads a JSON array of strings or values separated by commas.
func (r *reader) list(name string, required bool) []string {
	value := r.get(name)
	var items []string
	if strings.HasPrefix(value, "[") {
		if err := json.Unmarshal([]byte(value), &items); err != nil {
			r.fault("%s: must be a JSON array of strings or a list separated by commas, got %q", name, value)
			return nil
		}
	} else {
		items = strings.Split(value, ",")
	}
	var values []string
	for _, item := range items {
		if item = strings.TrimSpace(item); item != "" {
			values = append(values, item)
		}
	}
	if required && len(values) == 0 {
		r.fault("%s: must name at least one", name)
	}
	return values
}

func (r *reader) number(name string, otherwise, least, most int) int {
	value := r.get(name)
	if value == "" {
		return otherwise
	}
	number, err := strconv.Atoi(value)
	if err != nil || number < least || number > most {
		r.fault("%s: must be a whole number from %d to %d, got %q", name, least, most, value)
		return otherwise
	}
	return number
}

func (r *reader) level(name string) slog.Level {
	var level slog.Level
	value := r.get(name)
	if value == "" {
		return slog.LevelInfo
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(value)) || level.UnmarshalText([]byte(value)) != nil {
		r.fault("%s: must be one of debug, info, warn, error, got %q", name, value)
	}
	return level
}

func (r *reader) region() string {
	value := r.text("AWS_REGION", r.get("AWS_DEFAULT_REGION"), regionPattern.MatchString, "a Region such as us-east-1")
	if value == "" {
		r.fault("AWS_REGION: must be set to a Region such as us-east-1; Lambda sets it")
	}
	return value
}

// accounts reads a JSON array of accounts.
func (r *reader) accounts(name string) []bridge.Account {
	value := r.get(name)
	if value == "" {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.DisallowUnknownFields()
	var accounts []bridge.Account
	if err := decoder.Decode(&accounts); err != nil || decoder.More() {
		if err == nil {
			err = errors.New("there is more after the array")
		}
		r.fault(`%s: must be a JSON array of {"id","name","environment","tags"}: %v`, name, err)
		return nil
	}
	if len(accounts) == 0 {
		r.fault("%s: must name at least one account, got %q", name, value)
	}
	seen := map[bridge.AccountID]int{}
	for i, account := range accounts {
		if _, err := bridge.ParseAccountID(string(account.ID)); err != nil {
			r.fault("%s: item %d: id must have 12 digits, got %q", name, i, account.ID)
		} else if first, twice := seen[account.ID]; twice {
			r.fault("%s: item %d: id %s stands at item %d already", name, i, account.ID, first)
		}
		seen[account.ID] = i
	}
	return accounts
}

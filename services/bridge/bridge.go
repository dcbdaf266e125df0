// Package bridge answers one read-only AWS query over many accounts.
//
// It is the domain of the bridge Lambda: plain types and the rules between them, standard
// library only. A query travels through it in this order:
//
//	selectors -> accounts -> policy, per account and Region -> operation table ->
//	fan-out, one script an account -> rows, groups, cut to size -> Answer
//
// Everything that speaks to the outside (STS, the AWS MCP Server, DynamoDB, Cedar, JMESPath)
// sits behind an interface declared here and is implemented by one package under internal/.
package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// AccountID is the id of an AWS account: 12 digits.
type AccountID string

// ParseAccountID returns s as an account id, or an invalid error that says what is wrong with it.
func ParseAccountID(s string) (AccountID, error) {
	if len(s) != 12 || strings.Trim(s, "0123456789") != "" {
		return "", &Error{Op: "read account id", Code: Invalid,
			Err:  fmt.Errorf("%q is not an AWS account id", clip(s, 80)),
			Hint: "an account id has 12 digits, such as 111122223333"}
	}
	return AccountID(s), nil
}

// Account is a member account that the bridge may be asked about.
type Account struct {
	ID          AccountID         `json:"id"`
	Name        string            `json:"name,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Person is whom a verified user token names. The bridge never takes a person from anywhere else.
type Person struct {
	Subject  string   // the token's sub: stable, unique in its pool
	Username string   // the pool's user name; becomes the SourceIdentity
	Groups   []string // cognito:groups, in the token's order
}

// Operation is one AWS API operation as the operation table knows it.
type Operation struct {
	Service     string // boto3 client name, such as "ec2"
	Name        string // PascalCase, such as "DescribeInstances"
	AccessLevel string // "List", "Read", ... as AWS publishes it
	Global      bool   // one endpoint for all Regions: iam, organizations, route53, ...
	Pagination  *Pagination
	Rows        string // JMESPath of the rows when none is asked for; "" means: find them

	// OwnAccount is a parameter that takes the id of the account asked and that params lack; "" for none.
	OwnAccount string
	// SessionPolicy is the IAM policy that caps the role session in which the operation is run.
	SessionPolicy string
	// Region is the Region in which a global operation is called; "" for the partition's usual one.
	Region string
}

// String returns the operation as receipts and logs name it, "ec2:DescribeInstances".
func (o Operation) String() string { return o.Service + ":" + o.Name }

// Pagination is how an operation is read page by page; the words are botocore's.
type Pagination struct {
	Input       []string // request members that take the tokens
	Output      []string // where the tokens stand in a response; same length as Input
	MoreResults string   // where a response says that there is more; "" if only tokens do
	Results     []string // where the items of a page stand
}

// Query is one read operation over accounts and Regions, as it was asked.
type Query struct {
	Accounts  []string        // ids, names, "env:<environment>", "all"
	Regions   []string        // empty means the bridge's own; "all" means those enabled in each account
	Service   string          // as the caller spells it
	Operation string          // as the caller spells it
	Params    json.RawMessage // a JSON object; nil means {}
	Select    string          // JMESPath over a target's whole response; "" means the operation's rows
	GroupBy   string          // JMESPath over a row, or one of account_id, account_name, environment, region
	Limit     int             // most rows in the whole answer; 0 means no limit but the size
}

// GlobalRegion stands for the Region in the one target that a global service has in an account.
const GlobalRegion = "global"

// AllRegions stands for the Region in a target whose account could not be asked which Regions it has.
const AllRegions = "all"

// Status says how one target ended.
type Status string

// The statuses of a target. In Coverage, throttled and timeout count as failed.
const (
	StatusOK        Status = "ok"
	StatusDenied    Status = "denied"    // by the access policy, by the target role's trust, or by IAM
	StatusThrottled Status = "throttled" // AWS refused for rate, and went on refusing
	StatusTimeout   Status = "timeout"   // asked, no answer in time
	StatusFailed    Status = "failed"    // any other failure; see its error
	StatusSkipped   Status = "skipped"   // never asked: for lack of time, or a Region that the account or the bridge does not have
)

// Answer is the answer to a Query. Every target stands in Results exactly once.
type Answer struct {
	OK        bool     `json:"ok"`
	Coverage  Coverage `json:"coverage"`
	Results   []Result `json:"results"`
	Groups    []Group  `json:"groups"` // empty without group_by
	Truncated bool     `json:"truncated"`
	Notes     []string `json:"notes"`
}

// Coverage counts targets by outcome: Targets = Answered + Denied + Failed + Skipped.
type Coverage struct {
	Targets  int `json:"targets"`
	Answered int `json:"answered"`
	Denied   int `json:"denied"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
}

// Result is the outcome of one target: one account, one Region.
type Result struct {
	AccountID   AccountID `json:"account_id"`
	AccountName string    `json:"account_name,omitempty"` // absent when the policy denies the account
	Region      string    `json:"region"`
	Status      Status    `json:"status"`
	Count       *int      `json:"count,omitempty"` // rows found, shown or not; present when Status is ok

	// Data holds the rows shown, each compact JSON; present, if empty, when Status is ok.
	Data []json.RawMessage `json:"data,omitzero"`

	More    bool     `json:"more,omitzero"` // the account holds more than was read: Count is a lower bound
	Receipt *Receipt `json:"receipt,omitempty"`
	Error   *Failure `json:"error,omitempty"`
}

// Receipt says as whom and how a target was asked.
type Receipt struct {
	RoleARN        string `json:"role_arn"`
	SourceIdentity string `json:"source_identity"`
	Operation      string `json:"operation"`
	APICalls       int    `json:"api_calls"`
	DurationMS     int64  `json:"duration_ms"`
}

// Group counts the rows that share a key.
type Group struct {
	Key      any         `json:"key"`
	Count    int         `json:"count"`
	Accounts []AccountID `json:"accounts"` // in the order of the answer
}

// Failure is an error as callers of a tool read it.
type Failure struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// Code sorts errors; callers switch on it.
type Code string

// The codes.
const (
	Invalid         Code = "invalid"         // the caller's input is wrong
	Unauthenticated Code = "unauthenticated" // no valid user token, or AWS does not know the credentials
	Forbidden       Code = "forbidden"       // known, but not allowed
	NotFound        Code = "not_found"       // no such account, service, operation, tool
	Conflict        Code = "conflict"        // somebody else was first
	Throttled       Code = "throttled"       // too many requests
	Timeout         Code = "timeout"         // no answer in time
	Unavailable     Code = "unavailable"     // a service that the bridge needs does not answer as it should
	Internal        Code = "internal"        // our bug
)

// Error is a failure that someone outside the process will read.
type Error struct {
	Op      string    // what was attempted, such as "assume target role"
	Account AccountID // "" when no account is involved
	Code    Code
	Hint    string // the next step; "" if unknown
	Err     error  // the cause; nil if Op and Code say it all
}

// Error returns "op: account: code: cause" in one line.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	if e.Op != "" {
		parts = append(parts, e.Op)
	}
	if e.Account != "" {
		parts = append(parts, "account "+string(e.Account))
	}
	parts = append(parts, string(e.Code))
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, and Internal if there is none.
func CodeOf(err error) Code {
	var known *Error
	if errors.As(err, &known) {
		return known.Code
	}
	return Internal
}

// FailureOf returns err as callers may read it. What carries no code is a bug of ours: its text
// is for the log, and the caller gets a plain sentence.
func FailureOf(err error) *Failure {
	var known *Error
	if !errors.As(err, &known) || known.Code == Internal && known.Err == nil {
		return &Failure{Code: Internal, Message: "the bridge failed on this request", Hint: "its log has the cause, under this request's id"}
	}
	message := string(known.Code)
	if known.Err != nil {
		message = known.Err.Error()
	}
	if known.Op != "" {
		message = known.Op + ": " + message
	}
	return &Failure{Code: known.Code, Message: clip(message, 600), Hint: known.Hint}
}

// statusOf returns the status of a target that ended with code.
func statusOf(code Code) Status {
	switch code {
	case Forbidden:
		return StatusDenied
	case Throttled:
		return StatusThrottled
	case Timeout:
		return StatusTimeout
	default:
		return StatusFailed
	}
}

// RoleSession is what one AssumeRole gave: who the bridge is in a member account, and the keys.
type RoleSession struct {
	Account        AccountID
	RoleARN        string
	SessionName    string // stable for an environment: MCP sessions are bound to role and session name
	SourceIdentity string
	Credentials    Credentials
}

// Credentials are temporary AWS credentials. They show themselves neither in logs nor in fmt.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// String hides the keys.
func (Credentials) String() string { return "[credentials]" }

// GoString hides the keys from %#v.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the keys from log/slog.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON hides the keys from encoding/json.
func (c Credentials) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// clip shortens s to about n bytes, at a rune boundary, for use in a message.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// EncodeJSON returns v as compact JSON that leaves <, > and & as they are: an answer is read by a
// model, to which \u0026 is six characters instead of one.
func EncodeJSON(v any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

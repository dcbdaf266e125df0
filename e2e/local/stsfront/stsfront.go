// Package stsfront stands in for AWS STS.
//
// It speaks the query protocol: a form with Action and Version=2011-06-15 by POST (or GET), signed with SigV4 for the
// service "sts"; answers are XML. It knows AssumeRole and GetCallerIdentity. Unlike the emulator behind it, it
// refuses what STS refuses: a wrong signature, parameters out of bounds, a trust policy or an identity policy that
// does not allow AssumeRole, SetSourceIdentity and TagSession each, more than an hour for a chained role.
//
//	400 ValidationError, MalformedPolicyDocument, PackedPolicyTooLarge, InvalidAction, IncompleteSignature
//	403 AccessDenied, InvalidClientTokenId, SignatureDoesNotMatch, ExpiredToken, MissingAuthenticationToken, RegionDisabledException
//
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
package stsfront

import (
	"context"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
	"github.com/central-ops/central-ops/e2e/local/trail"
)

const (
	apiVersion = "2011-06-15"
	namespace  = "https://sts.amazonaws.com/doc/2011-06-15/"
	maxBody    = 1 << 20
)

// Roles finds a role by its ARN. It returns iampolicy.ErrNoRole for one that does not exist.
type Roles interface {
	Role(ctx context.Context, arn string) (iampolicy.Role, error)
}

// Minter makes keys for a session of a role: the three secrets, nothing else.
type Minter interface {
	Mint(ctx context.Context, roleARN, sessionName string, duration time.Duration) (issued.Credential, error)
}

// Config says what the STS knows. Store, Roles and Minter are required.
type Config struct {
	Store  *issued.Store
	Roles  Roles
	Minter Minter

	Region string           // the endpoint's Region, in which requests must be signed; "" means us-east-1
	Now    func() time.Time // nil means time.Now
	Sink   trail.Sink       // gets a record per call and account concerned; nil drops them

	// OrganizationID is the organization of every account that OrganizationOf does not name; "" means none.
	OrganizationID string
	// OrganizationOf holds the organization of single accounts, "" for an account outside any.
	OrganizationOf map[string]string
}

// Server is the STS. It is safe for concurrent use.
type Server struct {
	config Config
	now    func() time.Time

	mu     sync.Mutex
	faults []*Fault
}

// New returns an STS for Config.
func New(c Config) *Server {
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Sink == nil {
		c.Sink = func(trail.Record) {}
	}
	s := &Server{config: c, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Error is an answer of STS other than success.
type Error struct {
	Code    string
	Message string
	Status  int // HTTP status; 0 means 400
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// The errors that faults are made of most often.
var (
	Throttled      = &Error{Code: "Throttling", Message: "Rate exceeded", Status: http.StatusBadRequest}
	Unavailable    = &Error{Code: "ServiceUnavailable", Message: "The request has failed due to a temporary failure of the server.", Status: http.StatusServiceUnavailable}
	RegionDisabled = &Error{Code: "RegionDisabledException", Message: "STS is not activated in this region for the account. Your account administrator can activate STS in this region using the IAM Console.", Status: http.StatusForbidden}
)

// Fault makes AssumeRole misbehave.
type Fault struct {
	Account string // only for roles of this account; "" means any
	Times   int    // how often; 0 means until ClearFaults
	Error   *Error // answered instead of the result
	Hang    bool   // no answer until the client gives up
	Denied  bool   // AccessDenied, as for a role that does not exist
}

// Inject adds a fault. When several match, the one that was added first is taken.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault returns the fault for a call that concerns account and counts it.
func (s *Server) fault(account string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Account != "" && f.Account != account {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return taken, true
	}
	return Fault{}, false
}

// Issue hands out a session of a role as an AWS service would to code that runs in it, without trust policy and
// SigV4: the bridge's Lambda role, the agent's Runtime role. The session lasts for duration.
func (s *Server) Issue(ctx context.Context, roleARN, sessionName string, duration time.Duration) (issued.Credential, error) {
	role, err := s.config.Roles.Role(ctx, roleARN)
	if err != nil {
		return issued.Credential{}, fmt.Errorf("issue service role: %w", err)
	}
	return s.issue(ctx, role, session{name: sessionName, duration: duration})
}

// IssueToService hands out a session of a role to an AWS service, such as lambda.amazonaws.com, that acts for the resource
// source; the role's trust policy must let it.
func (s *Server) IssueToService(ctx context.Context, service, source, roleARN, sessionName string, duration time.Duration) (issued.Credential, error) {
	role, err := s.config.Roles.Role(ctx, roleARN)
	if err != nil {
		return issued.Credential{}, fmt.Errorf("issue service role: %w", err)
	}
	trust, err := iampolicy.Parse(role.Trust)
	if err != nil {
		return issued.Credential{}, fmt.Errorf("trust policy of %s: %w", roleARN, err)
	}
	request := iampolicy.Request{Action: "sts:AssumeRole", Resource: roleARN, Caller: iampolicy.Caller{Service: service}, Context: iampolicy.Context{}}
	request.Context.Set("aws:SourceArn", source)
	request.Context.Set("aws:SourceAccount", iampolicy.AccountOf(source))
	if iampolicy.Evaluate([]iampolicy.Document{trust}, request) != iampolicy.Allowed {
		return issued.Credential{}, &Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: fmt.Sprintf("%s for %s is not authorized to perform: sts:AssumeRole on resource: %s", service, source, roleARN)}
	}
	return s.issue(ctx, role, session{name: sessionName, duration: duration})
}

func (s *Server) issue(ctx context.Context, role iampolicy.Role, as session) (issued.Credential, error) {
	c, err := s.config.Minter.Mint(ctx, role.ARN, as.name, as.duration)
	if err != nil {
		return issued.Credential{}, err
	}
	c.Account = role.Account()
	c.RoleARN, c.SessionName = role.ARN, as.name
	c.PrincipalID = role.ID + ":" + as.name
	c.PrincipalARN = sessionARN(role.ARN, as.name)
	c.SourceIdentity, c.Tags, c.SessionPolicy = as.sourceIdentity, as.tags, as.policy
	c.Expires = s.now().UTC().Add(as.duration).Truncate(time.Second)
	s.config.Store.Add(c)
	return c, nil
}

func sessionARN(roleARN, sessionName string) string {
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", iampolicy.AccountOf(roleARN), iampolicy.RoleName(roleARN), sessionName)
}

// ServeHTTP answers one STS request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := newID()
	w.Header().Set("X-Amzn-Requestid", requestID)
	answer, err := s.serve(r, requestID)
	if errors.Is(err, errHang) {
		<-r.Context().Done()
		return
	}
	if err != nil {
		writeError(w, requestID, err)
		return
	}
	writeXML(w, http.StatusOK, answer)
}

// errHang says that no answer is to be given.
var errHang = errors.New("hang")

func (s *Server) serve(r *http.Request, requestID string) (any, error) {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return nil, &Error{Code: "InvalidAction", Message: "The method is not supported.", Status: http.StatusMethodNotAllowed}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, &Error{Code: "RequestTimeout", Message: "The request could not be read."}
	}
	if len(body) > maxBody {
		return nil, &Error{Code: "RequestEntityTooLarge", Message: "The request is too large.", Status: http.StatusRequestEntityTooLarge}
	}
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err == nil && r.Method == http.MethodPost {
		form, err = url.ParseQuery(string(body))
	}
	if err != nil {
		return nil, &Error{Code: "MalformedQueryString", Message: "The query string is malformed.", Status: http.StatusNotFound}
	}
	caller, err := sigv4.Verify(r, body, "sts", s.config.Region, s.config.Store, s.now())
	if err != nil {
		return nil, err
	}
	if form.Get("Version") != apiVersion {
		return nil, &Error{Code: "InvalidAction", Message: fmt.Sprintf("Could not find operation %s for version %s", form.Get("Action"), form.Get("Version"))}
	}
	switch form.Get("Action") {
	case "GetCallerIdentity":
		return callerIdentity{
			Namespace: namespace,
			Result:    callerIdentityResult{ARN: caller.PrincipalARN, UserID: caller.PrincipalID, Account: caller.Account},
			RequestID: requestID,
		}, nil
	case "AssumeRole":
		return s.assumeRole(r, form, caller, requestID)
	default:
		return nil, &Error{Code: "InvalidAction", Message: fmt.Sprintf("Could not find operation %s for version %s", form.Get("Action"), apiVersion)}
	}
}

type callerIdentity struct {
	XMLName   xml.Name             `xml:"GetCallerIdentityResponse"`
	Namespace string               `xml:"xmlns,attr"`
	Result    callerIdentityResult `xml:"GetCallerIdentityResult"`
	RequestID string               `xml:"ResponseMetadata>RequestId"`
}

type callerIdentityResult struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}

func writeError(w http.ResponseWriter, requestID string, err error) {
	type body struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Namespace string   `xml:"xmlns,attr"`
		Type      string   `xml:"Error>Type"`
		Code      string   `xml:"Error>Code"`
		Message   string   `xml:"Error>Message"`
		RequestID string   `xml:"RequestId"`
	}
	answer := body{Namespace: namespace, Type: "Sender", Code: "InternalFailure", Message: "The request processing has failed because of an unknown error.", RequestID: requestID}
	status := http.StatusInternalServerError
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		answer.Code, answer.Message, status = e.QueryCode(), e.Message, e.HTTPStatus()
	} else if e, ok := errors.AsType[*Error](err); ok {
		answer.Code, answer.Message, status = e.Code, e.Message, http.StatusBadRequest
		if e.Status != 0 {
			status = e.Status
		}
	}
	if status >= http.StatusInternalServerError {
		answer.Type = "Receiver"
	}
	writeXML(w, status, answer)
}

func writeXML(w http.ResponseWriter, status int, v any) {
	text, err := xml.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that went away needs no answer
}

// newID returns an id of the form that AWS gives requests and events.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// LocalKeys is a Minter that makes keys up. No emulator knows them, which load tests with hundreds of accounts
// do not need.
type LocalKeys struct{}

// Mint returns random keys.
func (LocalKeys) Mint(context.Context, string, string, time.Duration) (issued.Credential, error) {
	return issued.Credential{
		AccessKeyID:     "ASIA" + strings.ToUpper(rand.Text()[:16]),
		SecretAccessKey: rand.Text() + rand.Text()[:14],
		SessionToken:    rand.Text() + rand.Text() + rand.Text() + rand.Text(),
	}, nil
}

package stsfront

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/central-ops/central-ops/e2e/local/iampolicy"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/trail"
)

// Bounds of AssumeRole's parameters.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const (
	minDuration     = 900
	maxDuration     = 43200
	chainedDuration = time.Hour
	maxPolicy       = 2048
	maxTags         = 50
	// packedLimit is how many bytes the packed session policy and tags may take. AWS packs them in a way that it
	// does not publish; see Assumptions.
	packedLimit = 2048
)

var (
	sessionNamePattern = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalIDPattern  = regexp.MustCompile(`^[\w+=,.@:/-]*$`)
	roleARNPattern     = regexp.MustCompile(`^arn:aws:iam::\d{12}:role/[\w+=,.@/-]+$`)
	tagPattern         = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// session is what was asked for.
type session struct {
	name           string
	duration       time.Duration
	externalID     string
	sourceIdentity string
	policy         string
	tags           map[string]string
	transitive     []string
	packedPercent  int
}

type assumeRoleResponse struct {
	XMLName   xml.Name         `xml:"AssumeRoleResponse"`
	Namespace string           `xml:"xmlns,attr"`
	Result    assumeRoleResult `xml:"AssumeRoleResult"`
	RequestID string           `xml:"ResponseMetadata>RequestId"`
}

type assumeRoleResult struct {
	AssumedRoleID    string `xml:"AssumedRoleUser>AssumedRoleId"`
	ARN              string `xml:"AssumedRoleUser>Arn"`
	AccessKeyID      string `xml:"Credentials>AccessKeyId"`
	SecretAccessKey  string `xml:"Credentials>SecretAccessKey"`
	SessionToken     string `xml:"Credentials>SessionToken"`
	Expiration       string `xml:"Credentials>Expiration"`
	PackedPolicySize *int   `xml:"PackedPolicySize,omitempty"` // kept for older clients
	TokenSize        int    `xml:"SessionTokenSize"`
	TokenUtilization int    `xml:"SessionTokenUtilization"` // what replaced PackedPolicySize
	SourceIdentity   string `xml:"SourceIdentity,omitempty"`
}

func (s *Server) assumeRole(r *http.Request, form url.Values, caller issued.Credential, requestID string) (any, error) {
	roleARN := form.Get("RoleArn")
	as, err := parseSession(form)
	var issuedTo issued.Credential
	if err == nil {
		issuedTo, err = s.decideAndIssue(r.Context(), roleARN, as, caller)
	}
	if errors.Is(err, errHang) {
		return nil, err
	}
	s.record(r, form, caller, issuedTo, requestID, err)
	if err != nil {
		return nil, err
	}
	result := assumeRoleResult{
		AssumedRoleID: issuedTo.PrincipalID, ARN: sessionARN(roleARN, issuedTo.SessionName),
		AccessKeyID: issuedTo.AccessKeyID, SecretAccessKey: issuedTo.SecretAccessKey, SessionToken: issuedTo.SessionToken,
		Expiration: issuedTo.Expires.Format(time.RFC3339), SourceIdentity: issuedTo.SourceIdentity,
		TokenSize: len(issuedTo.SessionToken), TokenUtilization: as.packedPercent,
	}
	if as.policy != "" || len(as.tags) > 0 {
		result.PackedPolicySize = &as.packedPercent
	}
	return assumeRoleResponse{Namespace: namespace, Result: result, RequestID: requestID}, nil
}

// decideAndIssue checks permissions, then what depends on the role, and issues the session.
func (s *Server) decideAndIssue(ctx context.Context, roleARN string, as session, caller issued.Credential) (issued.Credential, error) {
	denied := func(action string) error {
		return &Error{
			Code: "AccessDenied", Status: http.StatusForbidden,
			Message: fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s", caller.PrincipalARN, action, roleARN),
		}
	}
	if f, ok := s.fault(iampolicy.AccountOf(roleARN)); ok {
		switch {
		case f.Hang:
			return issued.Credential{}, errHang
		case f.Denied:
			return issued.Credential{}, denied("sts:AssumeRole")
		case f.Error != nil:
			return issued.Credential{}, f.Error
		}
	}
	if caller.SourceIdentity != "" {
		if as.sourceIdentity != "" && as.sourceIdentity != caller.SourceIdentity {
			return issued.Credential{}, denied("sts:SetSourceIdentity")
		}
		as.sourceIdentity = caller.SourceIdentity
	}
	target, err := s.config.Roles.Role(ctx, roleARN)
	if errors.Is(err, iampolicy.ErrNoRole) {
		return issued.Credential{}, denied("sts:AssumeRole")
	}
	if err != nil {
		return issued.Credential{}, err
	}
	trust, err := iampolicy.Parse(target.Trust)
	if err != nil {
		return issued.Credential{}, fmt.Errorf("trust policy of %s: %w", roleARN, err)
	}
	own, err := s.config.Roles.Role(ctx, caller.RoleARN)
	if errors.Is(err, iampolicy.ErrNoRole) {
		return issued.Credential{}, denied("sts:AssumeRole")
	}
	if err != nil {
		return issued.Credential{}, err
	}
	for _, action := range actions(as) {
		ok, err := s.allowed(action, as, caller, own, target, trust)
		if err != nil {
			return issued.Credential{}, err
		}
		if !ok {
			return issued.Credential{}, denied(action)
		}
	}
	if as.duration > chainedDuration {
		return issued.Credential{}, &Error{Code: "ValidationError", Message: "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"}
	}
	if limit := target.MaxSession; limit > 0 && as.duration > limit {
		return issued.Credential{}, &Error{Code: "ValidationError", Message: "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."}
	}
	return s.issue(ctx, target, as)
}

// actions are the permissions that a request needs, each on both sides.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
func actions(as session) []string {
	need := []string{"sts:AssumeRole"}
	if as.sourceIdentity != "" {
		need = append(need, "sts:SetSourceIdentity")
	}
	if len(as.tags) > 0 {
		need = append(need, "sts:TagSession")
	}
	return need
}

// allowed needs the trust policy's allow and, unless that names the caller of the same account itself, the caller's.
func (s *Server) allowed(action string, as session, caller issued.Credential, own, target iampolicy.Role, trust iampolicy.Document) (bool, error) {
	request := iampolicy.Request{
		Action: action, Resource: target.ARN,
		Caller:  iampolicy.Caller{Account: caller.Account, RoleARN: caller.RoleARN, SessionARN: caller.PrincipalARN},
		Context: s.context(as, caller, target),
	}
	if iampolicy.Evaluate([]iampolicy.Document{trust}, request) != iampolicy.Allowed {
		return false, nil
	}
	identity, err := own.Identity(caller.SessionPolicy, request)
	if err != nil || identity == iampolicy.ExplicitDeny {
		return false, err
	}
	if identity == iampolicy.Allowed {
		return true, nil
	}
	byName := request
	byName.Caller.Account = "none" // now arn:aws:iam::<account>:root does not match, the role's own ARN does
	return caller.Account == target.Account() && iampolicy.Evaluate([]iampolicy.Document{trust}, byName) == iampolicy.Allowed, nil
}

// context holds the condition keys of the request.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
func (s *Server) context(as session, caller issued.Credential, target iampolicy.Role) iampolicy.Context {
	c := iampolicy.Context{}
	c.Set("aws:PrincipalArn", caller.RoleARN)
	c.Set("aws:PrincipalAccount", caller.Account)
	c.Set("aws:PrincipalType", "AssumedRole")
	c.Set("aws:userid", caller.PrincipalID)
	c.Set("aws:ResourceAccount", target.Account())
	c.Set("aws:SecureTransport", "true") // the loopback connection stands for TLS
	c.Set("sts:RoleSessionName", as.name)
	if id := s.organization(caller.Account); id != "" {
		c.Set("aws:PrincipalOrgID", id)
	}
	if id := s.organization(target.Account()); id != "" {
		c.Set("aws:ResourceOrgID", id)
	}
	if as.externalID != "" {
		c.Set("sts:ExternalId", as.externalID)
	}
	if as.sourceIdentity != "" {
		c.Set("sts:SourceIdentity", as.sourceIdentity)
	}
	if caller.SourceIdentity != "" {
		c.Set("aws:SourceIdentity", caller.SourceIdentity)
	}
	for key, value := range caller.Tags {
		c.Set("aws:PrincipalTag/"+key, value)
	}
	if len(as.tags) > 0 {
		c.Set("aws:TagKeys", slices.Sorted(maps.Keys(as.tags))...)
		for key, value := range as.tags {
			c.Set("aws:RequestTag/"+key, value)
		}
	}
	if len(as.transitive) > 0 {
		c.Set("sts:TransitiveTagKeys", as.transitive...)
	}
	return c
}

func (s *Server) organization(account string) string {
	if id, ok := s.config.OrganizationOf[account]; ok {
		return id
	}
	return s.config.OrganizationID
}

// record writes what CloudTrail would: one event in the account of the role, and the same in the caller's account
// if that is another one.
func (s *Server) record(r *http.Request, form url.Values, caller, result issued.Credential, requestID string, err error) {
	parameters := map[string]any{"roleArn": form.Get("RoleArn"), "roleSessionName": form.Get("RoleSessionName")}
	for key, name := range map[string]string{"ExternalId": "externalId", "SourceIdentity": "sourceIdentity", "DurationSeconds": "durationSeconds", "Policy": "policy"} {
		if v := form.Get(key); v != "" {
			parameters[name] = v
		}
	}
	if keys, values := members(form, "Tags.member", "Key", "Value"); len(keys) > 0 {
		tags := map[string]string{}
		for i, key := range keys {
			tags[key] = values[i]
		}
		parameters["principalTags"] = tags
	}
	record := trail.Record{
		EventVersion: "1.11", UserIdentity: trail.IdentityOf(caller), EventTime: s.now().UTC().Truncate(time.Second),
		EventSource: "sts.amazonaws.com", EventName: "AssumeRole", AWSRegion: s.config.Region,
		SourceIPAddress: "127.0.0.1", UserAgent: r.UserAgent(), RequestParameters: parameters,
		RequestID: requestID, EventID: newID(), SharedEventID: newID(), ReadOnly: true,
		EventType: "AwsApiCall", EventCategory: "Management", ManagementEvent: true,
	}
	if e, ok := errors.AsType[*Error](err); ok {
		record.ErrorCode, record.ErrorMessage = e.Code, e.Message
	} else if err == nil {
		record.ResponseElements = map[string]any{
			"assumedRoleUser": map[string]string{"assumedRoleId": result.PrincipalID, "arn": result.PrincipalARN},
			"credentials":     map[string]string{"accessKeyId": result.AccessKeyID, "expiration": result.Expires.Format(time.RFC3339)},
		}
		if result.SourceIdentity != "" {
			record.ResponseElements["sourceIdentity"] = result.SourceIdentity
		}
	}
	accounts := []string{caller.Account}
	if target := iampolicy.AccountOf(form.Get("RoleArn")); target != caller.Account && target != "" {
		accounts = append(accounts, target)
	}
	for _, account := range accounts {
		record.RecipientAccountID = account
		s.config.Sink(record)
	}
}

// parseSession reads and bounds the parameters.
func parseSession(form url.Values) (session, error) {
	var faults []string
	check := func(parameter, value string, low, high int, pattern *regexp.Regexp) {
		switch {
		case len(value) < low:
			faults = append(faults, fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", value, parameter, low))
		case len(value) > high:
			faults = append(faults, fmt.Sprintf("Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", parameter, high))
		case !pattern.MatchString(value):
			faults = append(faults, fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", value, parameter, pattern))
		}
	}
	anything := regexp.MustCompile(`(?s)^.*$`)
	check("roleArn", form.Get("RoleArn"), 20, 2048, roleARNPattern)
	check("roleSessionName", form.Get("RoleSessionName"), 2, 64, sessionNamePattern)
	as := session{
		name: form.Get("RoleSessionName"), duration: chainedDuration,
		externalID: form.Get("ExternalId"), sourceIdentity: form.Get("SourceIdentity"), policy: form.Get("Policy"),
	}
	if form.Has("ExternalId") {
		check("externalId", as.externalID, 2, 1224, externalIDPattern)
	}
	if form.Has("SourceIdentity") {
		check("sourceIdentity", as.sourceIdentity, 2, 64, sessionNamePattern)
		if strings.HasPrefix(strings.ToLower(as.sourceIdentity), "aws:") {
			faults = append(faults, "Value at 'sourceIdentity' failed to satisfy constraint: Member must not begin with aws:")
		}
	}
	if form.Has("Policy") {
		check("policy", as.policy, 1, maxPolicy, anything)
	}
	if text := form.Get("DurationSeconds"); form.Has("DurationSeconds") {
		seconds, err := strconv.Atoi(text)
		switch {
		case err != nil || seconds < minDuration:
			faults = append(faults, fmt.Sprintf("Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to %d", text, minDuration))
		case seconds > maxDuration:
			faults = append(faults, fmt.Sprintf("Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to %d", text, maxDuration))
		}
		as.duration = time.Duration(seconds) * time.Second
	}
	keys, values := members(form, "Tags.member", "Key", "Value")
	if len(keys) > maxTags {
		faults = append(faults, fmt.Sprintf("Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to %d", maxTags))
	}
	seen := map[string]bool{}
	for i, key := range keys {
		check("tags."+strconv.Itoa(i+1)+".member.key", key, 1, 128, tagPattern)
		check("tags."+strconv.Itoa(i+1)+".member.value", values[i], 0, 256, tagPattern)
		if lower := strings.ToLower(key); seen[lower] || strings.HasPrefix(lower, "aws:") {
			faults = append(faults, fmt.Sprintf("Value '%s' at 'tags' failed to satisfy constraint: Keys must be distinct and must not begin with aws:", key))
		} else {
			seen[lower] = true
		}
		if as.tags == nil {
			as.tags = map[string]string{}
		}
		as.tags[key] = values[i]
	}
	as.transitive, _ = members(form, "TransitiveTagKeys.member", "", "")
	for _, key := range as.transitive {
		if _, ok := as.tags[key]; !ok {
			faults = append(faults, fmt.Sprintf("The specified transitive tag key %s must be included in the requested tags.", key))
		}
	}
	if form.Has("PolicyArns.member.1.arn") {
		faults = append(faults, "Value at 'policyArns' is not supported by this stand-in: give the session policy inline")
	}
	if len(faults) > 0 {
		noun := "validation errors"
		if len(faults) == 1 {
			noun = "validation error"
		}
		return session{}, &Error{Code: "ValidationError", Message: fmt.Sprintf("%d %s detected: %s", len(faults), noun, strings.Join(faults, "; "))}
	}
	if as.policy != "" {
		if _, err := iampolicy.Parse(as.policy); err != nil {
			return session{}, &Error{Code: "MalformedPolicyDocument", Message: "Syntax errors in policy: " + err.Error()}
		}
	}
	return pack(as)
}

// pack computes how much of the space for session policy and tags is taken, and refuses more than all of it.
func pack(as session) (session, error) {
	var packed bytes.Buffer
	squeezed, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return session{}, err
	}
	var compact bytes.Buffer
	if as.policy != "" {
		if err := json.Compact(&compact, []byte(as.policy)); err != nil {
			return session{}, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(as.tags)) {
		compact.WriteString(key + "\x00" + as.tags[key] + "\x00")
	}
	if _, err := squeezed.Write(compact.Bytes()); err != nil {
		return session{}, err
	}
	if err := squeezed.Close(); err != nil {
		return session{}, err
	}
	as.packedPercent = (packed.Len()*100 + packedLimit - 1) / packedLimit
	if as.packedPercent > 100 {
		return session{}, &Error{Code: "PackedPolicyTooLarge", Message: fmt.Sprintf("Packed size of session tags and policies consumes %d%% of allotted space.", as.packedPercent)}
	}
	return as, nil
}

// members reads a list of the query protocol: <prefix>.<n>.<first> and <prefix>.<n>.<second>, or <prefix>.<n> when
// first is "".
func members(form url.Values, prefix, first, second string) (firsts, seconds []string) {
	for n := 1; ; n++ {
		name := prefix + "." + strconv.Itoa(n)
		key := name
		if first != "" {
			key = name + "." + first
		}
		if !form.Has(key) {
			return firsts, seconds
		}
		firsts = append(firsts, form.Get(key))
		seconds = append(seconds, form.Get(name+"."+second))
	}
}

// Package assume gets role sessions in member accounts from STS.
//
// One AssumeRole serves an account, a person and a session policy until five minutes before its
// credentials end; many callers that miss at once share one request, and a refusal is remembered
// for half a minute, so that a fan-out over accounts without a role costs STS one round.
//
// Each request carries the person as SourceIdentity and as the session tag central-ops:user, the
// ExternalId if one is configured, a session policy that keeps the session to reads whatever the
// role allows, and a session name that never varies: MCP sessions are bound to it.
package assume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/singleflight"

	"github.com/central-ops/central-ops/services/bridge"
)

const (
	// duration is the most that role chaining allows, and the bridge's own role is one
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
	duration = time.Hour
	// early is how long before their end credentials are replaced.
	early = 5 * time.Minute
	// remember is how long a refusal holds.
	remember = 30 * time.Second
	// patience bounds one AssumeRole, which may serve other callers than the one who began it.
	patience = 15 * time.Second
	// maxEntries bounds the cache: persons x accounts of an hour.
	maxEntries = 20_000

	userTag = "central-ops:user"
)

// STS is what this package calls of it.
type STS interface {
	AssumeRole(context.Context, *sts.AssumeRoleInput, ...func(*sts.Options)) (*sts.AssumeRoleOutput, error)
}

// Config says how roles are assumed.
type Config struct {
	Partition   string // aws, aws-cn, aws-us-gov
	RoleName    string
	SessionName string
	ExternalID  string // "" for none
}

// Roles assumes target roles. It is safe for concurrent use.
type Roles struct {
	sts    STS
	config Config

	flight  singleflight.Group
	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	session bridge.RoleSession
	err     error // a refusal, until
	until   time.Time
}

// New returns Roles without any session yet.
func New(client STS, config Config) *Roles {
	return &Roles{sts: client, config: config, entries: map[string]entry{}}
}

// Assume returns a role session in account for person, capped by policy, an IAM policy of at most
// 2,048 characters. Its error is forbidden if STS refuses,
// throttled, timeout or unavailable otherwise. The session comes back with its ARN and names even
// then, for the receipt.
func (r *Roles) Assume(ctx context.Context, person bridge.Person, account bridge.AccountID, policy string) (bridge.RoleSession, error) {
	key := cacheKey(person, account, policy)
	if found, ok := r.lookup(key); ok {
		return found.session, found.err
	}
	results := r.flight.DoChan(key, func() (any, error) {
		if found, ok := r.lookup(key); ok {
			return found, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return r.assume(ctx, key, person, account, policy), nil
	})
	select {
	case result := <-results:
		found := result.Val.(entry)
		return found.session, found.err
	case <-ctx.Done():
		r.flight.Forget(key) // the next question asks by itself instead of waiting for what hangs
		return r.identity(person, account), &bridge.Error{Op: "assume target role", Account: account, Code: bridge.Timeout,
			Err: errors.New("no answer from STS within the time for this query"), Hint: "ask again"}
	}
}

// Forget drops session, whose credentials were refused; a newer one stays.
func (r *Roles) Forget(session bridge.RoleSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, found := range r.entries {
		if found.session.Credentials.AccessKeyID == session.Credentials.AccessKeyID && found.err == nil {
			delete(r.entries, key)
		}
	}
}

func cacheKey(person bridge.Person, account bridge.AccountID, policy string) string {
	digest := sha256.Sum256([]byte(policy))
	return strings.Join([]string{string(account), person.Subject, person.Username, hex.EncodeToString(digest[:])}, "\x00")
}

func (r *Roles) lookup(key string) (entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.entries[key]
	return found, ok && time.Now().Before(found.until)
}

func (r *Roles) identity(person bridge.Person, account bridge.AccountID) bridge.RoleSession {
	return bridge.RoleSession{
		Account:        account,
		RoleARN:        fmt.Sprintf("arn:%s:iam::%s:role/%s", r.config.Partition, account, strings.TrimPrefix(r.config.RoleName, "/")),
		SessionName:    r.config.SessionName,
		SourceIdentity: SourceIdentity(person.Username),
	}
}

func (r *Roles) assume(ctx context.Context, key string, person bridge.Person, account bridge.AccountID, policy string) entry {
	session := r.identity(person, account)
	input := &sts.AssumeRoleInput{
		RoleArn:         &session.RoleARN,
		RoleSessionName: &session.SessionName,
		SourceIdentity:  &session.SourceIdentity,
		DurationSeconds: aws.Int32(int32(duration.Seconds())),
		Tags:            []types.Tag{{Key: aws.String(userTag), Value: aws.String(SourceIdentity(person.Subject))}},
	}
	if policy != "" {
		input.Policy = &policy
	}
	if r.config.ExternalID != "" {
		input.ExternalId = &r.config.ExternalID
	}
	output, err := r.sts.AssumeRole(ctx, input)
	if err == nil && (output.Credentials == nil || output.Credentials.AccessKeyId == nil || output.Credentials.SecretAccessKey == nil ||
		output.Credentials.SessionToken == nil || output.Credentials.Expiration == nil) {
		err = errors.New("STS answered without credentials")
	}
	if err != nil {
		found := entry{session: session, err: classify(err, account)}
		if code := bridge.CodeOf(found.err); code == bridge.Forbidden || code == bridge.Invalid {
			found.until = time.Now().Add(remember)
			r.store(key, found)
		}
		return found
	}
	session.Credentials = bridge.Credentials{
		AccessKeyID:     *output.Credentials.AccessKeyId,
		SecretAccessKey: *output.Credentials.SecretAccessKey,
		SessionToken:    *output.Credentials.SessionToken,
		Expires:         *output.Credentials.Expiration,
	}
	found := entry{session: session, until: session.Credentials.Expires.Add(-early)}
	r.store(key, found)
	return found
}

func (r *Roles) store(key string, found entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) >= maxEntries {
		for other, e := range r.entries {
			if time.Now().After(e.until) {
				delete(r.entries, other)
			}
		}
		if len(r.entries) >= maxEntries {
			clear(r.entries)
		}
	}
	r.entries[key] = found
}

// classify gives STS's refusals a code.
func classify(err error, account bridge.AccountID) error {
	known := &bridge.Error{Op: "assume target role", Account: account, Code: bridge.Unavailable, Err: err, Hint: "ask again in a moment"}
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		known.Err = fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
		switch api.ErrorCode() {
		case "AccessDenied", "AccessDeniedException":
			known.Code = bridge.Forbidden
			known.Hint = "deploy the target role to this account; its trust policy must name the bridge's role and allow sts:SetSourceIdentity and sts:TagSession"
		case "Throttling", "ThrottlingException", "RequestLimitExceeded":
			known.Code = bridge.Throttled
		case "ValidationError", "MalformedPolicyDocument", "PackedPolicyTooLarge", "InvalidParameterValue":
			known.Code, known.Hint = bridge.Invalid, "the bridge's role settings (TARGET_ROLE_NAME, EXTERNAL_ID, session policy) don't pass at STS"
		case "RegionDisabledException":
			known.Hint = "STS is switched off for this Region in the account"
		case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException":
			known.Code, known.Hint = bridge.Unauthenticated, "the bridge's own credentials are not taken: check its role and clock"
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		known.Code, known.Err = bridge.Timeout, errors.New("no answer from STS in time")
	}
	return known
}

// SourceIdentity fits name to what STS takes as one: 2 to 64 characters of letters, digits and
// _+=,.@- (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html). A name that
// fits stays as it is; of any other a recognizable part stays, with a digest of the whole. A name that
// ends like one with a digest gets another, so that two names never become one.
func SourceIdentity(name string) string {
	fits := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+=,.@-", r)
	}
	fitted := strings.Map(func(r rune) rune {
		if fits(r) {
			return r
		}
		return '-'
	}, name)
	if fitted == name && len(name) >= 2 && len(name) <= 64 && !digested(name) {
		return name
	}
	digest := sha256.Sum256([]byte(name))
	return fitted[:min(len(fitted), 47)] + "-" + hex.EncodeToString(digest[:8])
}

// digested says whether name ends as one does that SourceIdentity has given a digest.
func digested(name string) bool {
	end := name[max(len(name)-17, 0):]
	return len(end) == 17 && end[0] == '-' && strings.Trim(end[1:], "0123456789abcdef") == ""
}

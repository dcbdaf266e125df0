// Package policy decides by Cedar policies who may query what.
//
// The entities: User::"<sub>" (attribute username) in Group::"<name>" for each group of the token;
// Account::"<id>" (attributes name, environment, and tags, a record; those that an account doesn't
// have are absent: a condition on one is an error, which permits nothing, unless has guards it); Action::"query". The context: service, operation,
// access_level, region. For a global service, region is "global".
//
// Denied is what no policy permits, what one forbids, and what a forbid policy fails on when it is
// evaluated: Cedar itself would pass over that one.
package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cedar-policy/cedar-go"
	internalast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"golang.org/x/sync/singleflight"

	"github.com/central-ops/central-ops/services/bridge"
)

const (
	// ttl is how long policies that were read from elsewhere are used before they are read again.
	ttl = time.Minute
	// patience bounds reading again what is held already, pause is from one that failed to the next: a query waits for it.
	patience = 2 * time.Second
	pause    = 10 * time.Second
)

// Source returns the text of the policies. Its error carries a code.
type Source func(ctx context.Context) (string, error)

// Policies holds the access policy. It is safe for concurrent use.
type Policies struct {
	source Source
	fixed  bool
	logger *slog.Logger
	flight singleflight.Group

	mu     sync.Mutex
	set    *set
	loaded time.Time
}

var _ bridge.Policies = (*Policies)(nil)

// Parse returns the policies of text, which never change. Its error says where text is not Cedar.
func Parse(text string) (*Policies, error) {
	parsed, err := parse(text)
	if err != nil {
		return nil, err
	}
	return &Policies{fixed: true, set: parsed}, nil
}

// Load returns policies that are read through source at first use and once a minute from then on.
// When that fails, the last ones that could be read hold.
func Load(source Source, logger *slog.Logger) *Policies {
	return &Policies{source: source, logger: logger}
}

// For implements bridge.Policies.
func (p *Policies) For(ctx context.Context, person bridge.Person) (bridge.Access, error) {
	current, err := p.current(ctx)
	if err != nil {
		return nil, err
	}
	return newAccess(current, person), nil
}

func (p *Policies) current(ctx context.Context) (*set, error) {
	p.mu.Lock()
	held, fresh := p.set, p.fixed || time.Since(p.loaded) < ttl
	p.mu.Unlock()
	if held != nil && fresh {
		return held, nil
	}
	loaded, err, _ := p.flight.Do("", func() (any, error) {
		bounded, cancel := ctx, context.CancelFunc(func() {})
		if held != nil {
			bounded, cancel = context.WithTimeout(ctx, patience)
		}
		defer cancel()
		text, err := p.source(bounded)
		if err != nil {
			return nil, err
		}
		return parse(text)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.set == nil {
			return nil, &bridge.Error{Op: "read access policy", Code: bridge.Unavailable, Err: err, Hint: "check ACCESS_POLICY_PARAMETER and the bridge's right to read it"}
		}
		p.logger.WarnContext(ctx, "access policy not read, the last one holds", "error", err)
		p.loaded = time.Now().Add(pause - ttl)
		return p.set, nil
	}
	p.set, p.loaded = loaded.(*set), time.Now()
	return p.set, nil
}

// set is a parsed policy text.
type set struct {
	policies *cedar.PolicySet
	names    map[cedar.PolicyID]string // how a denial names them
	permits  []*internalast.Policy
	forbids  []*internalast.Policy
}

func parse(text string) (*set, error) {
	policies, err := cedar.NewPolicySetFromBytes("access policy", []byte(text))
	if err != nil {
		return nil, fmt.Errorf("access policy is not valid Cedar: %w", err)
	}
	parsed := &set{policies: policies, names: map[cedar.PolicyID]string{}}
	for id, policy := range policies.All() {
		parsed.names[id] = fmt.Sprintf("at line %d", policy.Position().Line)
		if name, ok := policy.Annotations()["id"]; ok {
			parsed.names[id] = fmt.Sprintf("%q", string(name))
		}
		tree := (*internalast.Policy)(policy.AST())
		if policy.Effect() == cedar.Permit {
			parsed.permits = append(parsed.permits, conjuncts(tree))
		} else {
			parsed.forbids = append(parsed.forbids, tree)
		}
	}
	if len(parsed.names) == 0 {
		return nil, errors.New("access policy holds no policy")
	}
	return parsed, nil
}

// conjuncts returns policy with "when { a && b }" written as "when { a } when { b }". It means the
// same, but lets partial evaluation see that b is false where a is not known.
func conjuncts(policy *internalast.Policy) *internalast.Policy {
	split := *policy
	split.Conditions = nil
	var add func(c internalast.ConditionType)
	add = func(c internalast.ConditionType) {
		if and, ok := c.Body.(internalast.NodeTypeAnd); ok && c.Condition == internalast.ConditionWhen {
			add(internalast.ConditionType{Condition: c.Condition, Body: and.Left})
			add(internalast.ConditionType{Condition: c.Condition, Body: and.Right})
			return
		}
		split.Conditions = append(split.Conditions, c)
	}
	for _, c := range policy.Conditions {
		add(c)
	}
	return &split
}

func (s *set) name(ids []cedar.PolicyID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = s.names[id]
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// access is the policy for one person. Safe for concurrent use: nothing of it changes.
type access struct {
	set    *set
	user   cedar.EntityUID
	person map[cedar.EntityUID]cedar.Entity
}

func newAccess(s *set, person bridge.Person) *access {
	a := &access{set: s, user: cedar.NewEntityUID("User", cedar.String(person.Subject)), person: map[cedar.EntityUID]cedar.Entity{}}
	groups := make([]cedar.EntityUID, len(person.Groups))
	for i, name := range person.Groups {
		groups[i] = cedar.NewEntityUID("Group", cedar.String(name))
		a.person[groups[i]] = cedar.Entity{UID: groups[i]}
	}
	a.person[a.user] = cedar.Entity{
		UID: a.user, Parents: cedar.NewEntityUIDSet(groups...),
		Attributes: cedar.NewRecord(cedar.RecordMap{"username": cedar.String(person.Username)}),
	}
	return a
}

var query = cedar.NewEntityUID("Action", "query")

// world is the person's entities and one account.
func (a *access) world(account bridge.Account) (cedar.EntityUID, cedar.EntityMap) {
	id := cedar.NewEntityUID("Account", cedar.String(account.ID))
	tags := cedar.RecordMap{}
	for key, value := range account.Tags {
		tags[cedar.String(key)] = cedar.String(value)
	}
	attributes := cedar.RecordMap{"tags": cedar.NewRecord(tags)}
	if account.Name != "" {
		attributes["name"] = cedar.String(account.Name)
	}
	if account.Environment != "" {
		attributes["environment"] = cedar.String(account.Environment)
	}
	entities := cedar.EntityMap(maps.Clone(a.person))
	entities[id] = cedar.Entity{UID: id, Attributes: cedar.NewRecord(attributes)}
	return id, entities
}

// Decide implements bridge.Access.
func (a *access) Decide(account bridge.Account, operation bridge.Operation, region string) bridge.Decision {
	id, entities := a.world(account)
	decision, diagnostic := cedar.Authorize(a.set.policies, entities, cedar.Request{
		Principal: a.user, Action: query, Resource: id,
		Context: cedar.NewRecord(cedar.RecordMap{
			"service":      cedar.String(operation.Service),
			"operation":    cedar.String(operation.Name),
			"access_level": cedar.String(operation.AccessLevel),
			"region":       cedar.String(region),
		}),
	})
	var reasons, failed []cedar.PolicyID
	for _, reason := range diagnostic.Reasons {
		reasons = append(reasons, reason.PolicyID)
	}
	for _, failure := range diagnostic.Errors {
		if policy := a.set.policies.Get(failure.PolicyID); policy != nil && policy.Effect() == cedar.Forbid {
			failed = append(failed, failure.PolicyID)
		}
	}
	switch {
	case decision == cedar.Allow && len(failed) == 0:
		return bridge.Decision{Allowed: true, Reason: "permitted by access policy " + a.set.name(reasons)}
	case decision == cedar.Allow:
		return bridge.Decision{Reason: fmt.Sprintf("access policy %s, which forbids, could not be evaluated for account %s", a.set.name(failed), account.ID)}
	case len(reasons) > 0:
		return bridge.Decision{Reason: fmt.Sprintf("access policy %s forbids %s in account %s, Region %s", a.set.name(reasons), operation, account.ID, region)}
	default:
		return bridge.Decision{Reason: fmt.Sprintf("no access policy permits %s in account %s, Region %s", operation, account.ID, region)}
	}
}

// Visible implements bridge.Access: whether some context exists, as far as Cedar's partial
// evaluation tells without one, in which account may be queried. It errs towards true: a policy
// whose conditions on the context can't hold together still counts as one that may permit.
func (a *access) Visible(account bridge.Account) bool {
	id, entities := a.world(account)
	env := eval.Env{Entities: entities, Principal: a.user, Action: query, Resource: id, Context: eval.Variable("context")}
	for _, forbid := range a.set.forbids {
		rest, keep := eval.PartialPolicy(env, forbid)
		if keep && (len(rest.Conditions) == 0 || len(rest.Conditions) == 1 && broken(rest)) {
			return false // forbidden whatever the context
		}
	}
	return slices.ContainsFunc(a.set.permits, func(permit *internalast.Policy) bool {
		rest, keep := eval.PartialPolicy(env, permit)
		return keep && !broken(rest)
	})
}

// broken says whether one of policy's conditions fails whatever the context.
func broken(policy *internalast.Policy) bool {
	return slices.ContainsFunc(policy.Conditions, func(c internalast.ConditionType) bool {
		_, failed := eval.ToPartialError(c.Body)
		return failed
	})
}

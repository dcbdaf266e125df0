package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The bounds of one query. More is refused at once, in a sentence, instead of being cut later.
const (
	MaxAccounts    = 1000     // accounts of one query
	MaxTargets     = 10000    // accounts x Regions: keeps the answer's frame under Lambda's 6 MB
	MaxParamsBytes = 32 << 10 // params, as JSON
	MaxJSONDepth   = 64       // params, nesting; AWS's own shapes stay under 20
	MaxExpression  = 4096     // select and group_by, bytes
)

// Directory knows the accounts that the bridge may be asked about.
type Directory interface {
	// Accounts returns them all, ids distinct, in the order they are configured in. Its error
	// carries a code: unavailable if the table can't be read. Safe for concurrent use.
	Accounts(ctx context.Context) ([]Account, error)
}

// Policies is the access policy.
type Policies interface {
	// For returns what person may do. Its error carries a code: unavailable if there is no policy
	// to decide by. Safe for concurrent use.
	For(ctx context.Context, person Person) (Access, error)
}

// Access decides for one person. Safe for concurrent use.
type Access interface {
	// Decide says whether the person may run operation in account and region, and by which rule.
	Decide(account Account, operation Operation, region string) Decision
	// Visible says whether there may be any query on account that the policy permits.
	Visible(account Account) bool
}

// Decision is the access policy's answer for one target.
type Decision struct {
	Allowed bool
	Reason  string // names the rules that decided, or says that none applied
}

// Catalog is the operation table.
type Catalog interface {
	// Resolve returns the operation that the words name, if it may be run at all with params, a JSON
	// object. Otherwise its error is not_found, naming the nearest, forbidden, saying why, or invalid
	// for what is wrong with params. The operation comes with a forbidden error, too.
	Resolve(service, operation string, params json.RawMessage) (Operation, error)
	// Redact returns document without the secrets that operation's answers are known to hold, and
	// how many values it took out. document is decoded JSON and may be changed in place.
	Redact(operation Operation, document any) (any, int)
	// Regions returns the names of all Regions.
	Regions() []string
	// NearestRegions returns the Regions that region may have meant.
	NearestRegions(region string) []string
}

// Shape turns a target's response into rows.
type Shape interface {
	// Rows returns the rows of document, which is decoded JSON.
	Rows(document any) ([]any, error)
	// Key returns the group that row belongs to.
	Key(row any) (any, error)
}

// Shaper compiles a Shape. Its error is invalid and names the expression at fault.
type Shaper func(operation Operation, selectRows, groupBy string) (Shape, error)

// Ask is what one account is asked: one operation in some Regions.
type Ask struct {
	Operation Operation
	Params    json.RawMessage // a JSON object
	Regions   []string        // distinct, not empty; GlobalRegion alone for a global service
	Enabled   bool            // ask only those of Regions that the account has enabled
	Home      string          // the bridge's own Region: where enabled Regions and global services are asked for
}

// Report is what an account answered.
type Report struct {
	RoleARN        string // "" if no role was assumed
	SourceIdentity string
	Regions        []RegionReport // one for each Region asked, in that order
	Enabled        []string       // the account's enabled Regions, if Ask.Enabled
	Notes          []string       // what a reader of the answer must know besides
}

// RegionReport is what one Region of an account answered.
type RegionReport struct {
	Region   string
	Document any  // the response, pages merged, decoded JSON
	Calls    int  // AWS API calls made
	More     bool // there are pages that were not read
	Err      error
}

// Asker asks one account.
type Asker interface {
	// Ask runs ask in account on behalf of person. An error means that no Region was answered; its
	// code says why, and the Report may still say as whom it was tried. Safe for concurrent use.
	Ask(ctx context.Context, person Person, account Account, ask Ask) (Report, error)
}

// Auditor keeps the audit trail.
type Auditor interface {
	// QueryFinished is called once for each query, at its end. Safe for concurrent use.
	QueryFinished(ctx context.Context, record Record)
}

// Record is what the audit trail learns about a query: who, where, what, how it ended. It holds
// no arguments and no rows.
type Record struct {
	Person    Person
	Operation string  // "service:Operation"; "" if the query failed before it was known
	Answer    *Answer // nil if Err is not
	Err       error   // why the whole query was refused
	Duration  time.Duration
}

// Config bounds the bridge's work.
type Config struct {
	Home        string        // the bridge's own Region: what a query without Regions means
	Concurrency int           // accounts asked at a time
	PerAccount  time.Duration // most time for one account
	MaxBytes    int           // size of an answer over which rows are left out
	// Notes returns what is to be said with every answer; nil for nothing. Safe for concurrent use.
	Notes func() []string
	// Encode writes JSON as EncodeJSON does, which it is if nil. Most of an answer is rows, so that this
	// is where a faster one pays.
	Encode func(v any) ([]byte, error)
	// Enter begins an account's part of a query, whose answer takes memory until the function that it returns
	// is called; nil for nothing to do.
	Enter func(ctx context.Context) (context.Context, func())
}

// Bridge answers queries. It is safe for concurrent use.
type Bridge struct {
	directory Directory
	policies  Policies
	catalog   Catalog
	shaper    Shaper
	asker     Asker
	auditor   Auditor
	config    Config
}

// New returns a bridge of the parts given, none of which may be nil.
func New(directory Directory, policies Policies, catalog Catalog, shaper Shaper, asker Asker, auditor Auditor, config Config) *Bridge {
	if config.Encode == nil {
		config.Encode = EncodeJSON
	}
	if config.Enter == nil {
		config.Enter = func(ctx context.Context) (context.Context, func()) { return ctx, func() {} }
	}
	return &Bridge{directory, policies, catalog, shaper, asker, auditor, config}
}

// ListAccounts returns the accounts that person may query something in, in the configured order.
// A filter keeps those whose id, name, environment, tag key or tag value contains it, in any case.
func (b *Bridge) ListAccounts(ctx context.Context, person Person, filter string) ([]Account, error) {
	accounts, err := b.directory.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	access, err := b.policies.For(ctx, person)
	if err != nil {
		return nil, err
	}
	listed := []Account{}
	filter = strings.ToLower(strings.TrimSpace(filter))
	for _, account := range accounts {
		if account.contains(filter) && access.Visible(account) {
			listed = append(listed, account)
		}
	}
	return listed, nil
}

func (a Account) contains(lower string) bool {
	fields := []string{string(a.ID), a.Name, a.Environment}
	for key, value := range a.Tags {
		fields = append(fields, key, value)
	}
	return slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(strings.ToLower(f), lower) })
}

// Query answers query for person. An error means that the query as a whole was refused and no
// account was asked; its code says why. Failures of single targets are in the Answer. Query
// returns by ctx's deadline, with what there is.
func (b *Bridge) Query(ctx context.Context, person Person, query Query) (*Answer, error) {
	start := time.Now()
	answer, operation, err := b.query(ctx, person, query)
	record := Record{Person: person, Answer: answer, Err: err, Duration: time.Since(start)}
	if operation.Name != "" {
		record.Operation = operation.String()
	}
	b.auditor.QueryFinished(ctx, record)
	return answer, err
}

func (b *Bridge) query(ctx context.Context, person Person, query Query) (*Answer, Operation, error) {
	if err := query.validate(); err != nil {
		return nil, Operation{}, err
	}
	access, err := b.policies.For(ctx, person)
	if err != nil {
		return nil, Operation{}, err
	}
	accounts, err := b.directory.Accounts(ctx)
	if err != nil {
		return nil, Operation{}, err
	}
	accounts, err = SelectAccounts(accounts, query.Accounts, access.Visible)
	if err != nil {
		return nil, Operation{}, err
	}
	params := query.Params
	if len(params) == 0 {
		params = json.RawMessage("{}")
	}
	operation, err := b.catalog.Resolve(query.Service, query.Operation, params)
	if err != nil {
		return nil, operation, err
	}
	known := b.catalog.Regions()
	if operation.Global { // which is what answers call its Region
		known = append(slices.Clip(known), GlobalRegion)
	}
	regions, all, err := SelectRegions(query.Regions, b.config.Home, known, b.catalog.NearestRegions)
	if err != nil {
		return nil, operation, err
	}
	shape, err := b.shaper(operation, query.Select, query.GroupBy)
	if err != nil {
		return nil, operation, err
	}
	var named []string // beside "all"
	switch {
	case operation.Global:
		regions, all = []string{GlobalRegion}, false
	case all:
		named, regions = regions, b.catalog.Regions()
		for _, region := range named {
			if !slices.Contains(regions, region) { // the bridge's own, of another partition
				regions = append(slices.Clip(regions), region)
			}
		}
	}
	if len(accounts) > MaxAccounts || len(accounts)*len(regions) > MaxTargets {
		return nil, operation, &Error{Op: "plan query", Code: Invalid,
			Err:  fmt.Errorf("%d accounts in %d Regions are too many for one query: at most %d accounts and %d targets", len(accounts), len(regions), MaxAccounts, MaxTargets),
			Hint: "ask by environment, or for fewer Regions"}
	}

	run := &run{
		bridge: b, person: person, operation: operation, shape: shape, selects: query.Select != "", groupBy: query.GroupBy,
		params: params, shelf: shelf{maxBytes: b.config.MaxBytes},
	}
	plans := make([]plan, len(accounts))
	for i, account := range accounts {
		plans[i] = newPlan(access, account, operation, regions, all)
		plans[i].named = named
	}
	ask := run.ask
	if deadline, ok := ctx.Deadline(); ok {
		ask = run.askBefore(deadline.Add(-min(tidying, time.Until(deadline)/10)))
	}
	outcomes := FanOut(ctx, plans, b.config.Concurrency, b.config.PerAccount, ask, run.unfinished)
	return run.answer(outcomes, query.Limit), operation, nil
}

// validate refuses what no account and no table is needed to refuse.
func (q Query) validate() error {
	refuse := func(hint, format string, args ...any) error {
		return &Error{Op: "read query", Code: Invalid, Err: fmt.Errorf(format, args...), Hint: hint}
	}
	switch {
	case len(q.Accounts) == 0:
		return refuse(`name accounts by id or name, or use "env:<environment>" or "all"`, "accounts is empty")
	case strings.TrimSpace(q.Service) == "":
		return refuse("name the AWS service as boto3 does, such as ec2", "service is empty")
	case strings.TrimSpace(q.Operation) == "":
		return refuse("name an API operation, such as DescribeInstances", "operation is empty")
	case len(q.Select) > MaxExpression:
		return refuse("shorten the expression", "select is %d bytes long, at most %d are taken", len(q.Select), MaxExpression)
	case len(q.GroupBy) > MaxExpression:
		return refuse("shorten the expression", "group_by is %d bytes long, at most %d are taken", len(q.GroupBy), MaxExpression)
	case q.Limit < 0:
		return refuse("leave limit out to see every row that fits", "limit must be at least 1")
	case len(q.Params) > MaxParamsBytes:
		return refuse("narrow the request", "params is %d bytes long, at most %d are taken", len(q.Params), MaxParamsBytes)
	case len(q.Params) == 0:
		return nil
	case !json.Valid(q.Params) || bytes.TrimSpace(q.Params)[0] != '{':
		return refuse(`give the operation's parameters by name, such as {"MaxResults":5}`, "params is not a JSON object")
	}
	if depth := JSONDepth(q.Params); depth > MaxJSONDepth {
		return refuse("no AWS operation takes parameters that deep", "params is nested %d levels deep, at most %d are taken", depth, MaxJSONDepth)
	}
	return nil
}

// JSONDepth returns how deep the arrays and objects of JSON, which need not be valid, are nested.
func JSONDepth(raw []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// plan is one account's part of a query.
type plan struct {
	account Account
	regions []string // Regions to ask, after the policy; empty if there are none
	all     bool     // regions are to be cut down to those that the account has enabled
	asked   []string // Regions that were asked for; those not in regions were denied
	named   []string // with all, Regions that were asked for by name besides: they stand in the answer, enabled or not
	denied  map[string]string
}

func newPlan(access Access, account Account, operation Operation, regions []string, all bool) plan {
	p := plan{account: account, all: all, asked: regions, denied: map[string]string{}}
	for _, region := range regions {
		if decision := access.Decide(account, operation, region); decision.Allowed {
			p.regions = append(p.regions, region)
		} else {
			p.denied[region] = decision.Reason
		}
	}
	return p
}

// everywhere reports one result for a plan of all Regions that never learned which those are, and
// one for each Region otherwise.
func (p plan) everywhere(result func(region string) Result) []Result {
	if p.all {
		return []Result{result(AllRegions)}
	}
	results := make([]Result, len(p.asked))
	for i, region := range p.asked {
		if reason, denied := p.denied[region]; denied {
			results[i] = p.refused(region, reason)
		} else {
			results[i] = result(region)
		}
	}
	return results
}

// refused is the result of a target that the policy denies. It doesn't show the account's name.
func (p plan) refused(region, reason string) Result {
	return Result{AccountID: p.account.ID, Region: region, Status: StatusDenied, Error: &Failure{
		Code: Forbidden, Message: reason, Hint: "list_accounts shows the accounts you may query; an administrator can grant more in the access policy"}}
}

func (p plan) failed(region string, err error, receipt *Receipt) Result {
	return Result{AccountID: p.account.ID, AccountName: p.account.Name, Region: region,
		Status: statusOf(CodeOf(err)), Error: FailureOf(err), Receipt: receipt}
}

// outcome is what became of a plan.
type outcome struct {
	results []Result
	groups  []map[string]int // by result: rows by the JSON of their group's key
	notes   []string
	// redacted counts the values taken out of the rows.
	redacted int
	// unselected names members of responses that hold something of which select made no row.
	unselected []string
	// shelved are the numbers under which the shelf keeps the rows, by result; -1 for none.
	shelved []int
}

// run is a query under way.
type run struct {
	bridge    *Bridge
	person    Person
	operation Operation
	shape     Shape
	selects   bool // rows are not the operation's own, but those of a select
	groupBy   string
	params    json.RawMessage
	shelf     shelf
}

// ask does one account's part.
func (r *run) ask(ctx context.Context, p plan) outcome {
	if len(p.regions) == 0 {
		if p.all { // the same rule denies them all: any of its Regions tells it
			return settled(p.refused(AllRegions, p.denied[p.asked[0]]))
		}
		return settled(p.everywhere(func(region string) Result { return p.refused(region, p.denied[region]) })...)
	}
	ctx, leave := r.bridge.config.Enter(ctx)
	defer leave()
	start := time.Now()
	params := r.params
	if own := r.operation.OwnAccount; own != "" {
		params = withMember(params, own, string(p.account.ID))
	}
	report, err := r.bridge.asker.Ask(ctx, r.person, p.account, Ask{
		Operation: r.operation, Params: params, Regions: p.regions, Enabled: p.all, Home: r.bridge.config.Home,
	})
	receipt := func(calls int) *Receipt {
		if report.RoleARN == "" {
			return nil
		}
		return &Receipt{RoleARN: report.RoleARN, SourceIdentity: report.SourceIdentity, Operation: r.operation.String(),
			APICalls: calls, DurationMS: time.Since(start).Milliseconds()}
	}
	if err != nil {
		if ctx.Err() != nil && CodeOf(err) == Internal {
			err = errLate(err)
		}
		o := settled(p.everywhere(func(region string) Result { return p.failed(region, err, receipt(0)) })...)
		o.notes = report.Notes
		return o
	}

	answered := make(map[string]RegionReport, len(report.Regions))
	for _, region := range report.Regions {
		answered[region.Region] = region
	}
	order := p.asked
	if p.all {
		order = slices.Clone(report.Enabled)
		for _, region := range p.named {
			if !slices.Contains(order, region) {
				order = append(order, region)
			}
		}
	}
	out := outcome{notes: report.Notes}
	add := func(result Result, groups map[string]int, shelved int) {
		out.results, out.groups, out.shelved = append(out.results, result), append(out.groups, groups), append(out.shelved, shelved)
	}
	for _, region := range order {
		if reason, denied := p.denied[region]; denied {
			add(p.refused(region, reason), nil, -1)
			continue
		}
		answer, ok := answered[region]
		switch {
		case p.all && !slices.Contains(report.Enabled, region):
			add(Result{AccountID: p.account.ID, AccountName: p.account.Name, Region: region, Status: StatusSkipped,
				Error: &Failure{Code: Unavailable, Message: "not asked: the account has not enabled this Region"}}, nil, -1)
		case !ok && !slices.Contains(p.regions, region): // enabled, but newer than the operation table
			add(Result{AccountID: p.account.ID, AccountName: p.account.Name, Region: region, Status: StatusSkipped,
				Error: &Failure{Code: Unavailable, Message: "the account has this Region enabled, but this version of the bridge doesn't know it",
					Hint: "bring the bridge's operation table up to date"}}, nil, -1)
		case !ok:
			add(p.failed(region, &Error{Op: "read answer", Account: p.account.ID, Code: Unavailable,
				Err: errors.New("the answer holds nothing for this Region")}, receipt(0)), nil, -1)
		case answer.Err != nil:
			add(p.failed(region, answer.Err, receipt(answer.Calls)), nil, -1)
		default:
			document, redacted := r.bridge.catalog.Redact(r.operation, answer.Document)
			rows, groups, err := r.rows(p.account, region, document)
			if err != nil {
				add(p.failed(region, err, receipt(answer.Calls)), nil, -1)
				continue
			}
			out.redacted += redacted
			count := len(rows)
			if count == 0 && r.selects {
				out.unselected = append(out.unselected, filled(document)...)
			}
			add(Result{AccountID: p.account.ID, AccountName: p.account.Name, Region: region, Status: StatusOK,
				Count: &count, More: answer.More, Receipt: receipt(answer.Calls)}, groups, r.shelf.put(rows))
		}
	}
	return out
}

// withMember returns object, which is a JSON object, with one member more.
func withMember(object json.RawMessage, name, value string) json.RawMessage {
	rest := bytes.TrimSpace(bytes.TrimSpace(object)[1:])
	head := fmt.Sprintf(`{%q:%q`, name, value)
	if rest[0] != '}' {
		head += ","
	}
	return append([]byte(head), rest...)
}

// filled returns the names of the members of a response that are lists or objects with something in them, sorted.
func filled(document any) []string {
	object, _ := document.(map[string]any)
	var names []string
	for name, value := range object {
		list, _ := value.([]any)
		inner, _ := value.(map[string]any)
		if len(list)+len(inner) > 0 && name != "ResponseMetadata" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// tidying is how long before the whole deadline accounts have to end, so that those which are late can still say why, and as whom they
// were asked.
const tidying = 200 * time.Millisecond

// askBefore does what ask does, by end. An account whose turn comes later isn't asked.
func (r *run) askBefore(end time.Time) func(context.Context, plan) outcome {
	return func(ctx context.Context, p plan) outcome {
		if !time.Now().Before(end) {
			return r.unfinished(p, false)
		}
		ctx, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		return r.ask(ctx, p)
	}
}

// settled is an outcome without rows.
func settled(results ...Result) outcome {
	o := outcome{results: results, groups: make([]map[string]int, len(results)), shelved: make([]int, len(results))}
	for i := range o.shelved {
		o.shelved[i] = -1
	}
	return o
}

// unfinished is the outcome of an account that the deadline overtook.
func (r *run) unfinished(p plan, started bool) outcome {
	if len(p.regions) == 0 {
		return r.ask(context.Background(), p) // denied throughout: needs no time
	}
	return settled(p.everywhere(func(region string) Result {
		if started {
			return p.failed(region, errLate(context.DeadlineExceeded), nil)
		}
		return Result{AccountID: p.account.ID, AccountName: p.account.Name, Region: region, Status: StatusSkipped,
			Error: &Failure{Code: Timeout, Message: "not asked: the time for this query was used up before", Hint: "ask for fewer accounts or Regions at once"}}
	})...)
}

func errLate(cause error) error {
	return &Error{Op: "ask account", Code: Timeout, Err: fmt.Errorf("no answer within the time for this query: %w", cause),
		Hint: "ask again: what was slow is warm by now; or ask for fewer Regions"}
}

// rows turns a document into rows, as JSON, and counts them by group.
func (r *run) rows(account Account, region string, document any) ([]json.RawMessage, map[string]int, error) {
	found, err := r.shape.Rows(document)
	if err != nil {
		return nil, nil, err
	}
	rows := make([]json.RawMessage, len(found))
	var groups map[string]int
	if r.groupBy != "" {
		groups = map[string]int{}
	}
	for i, row := range found {
		if rows[i], err = r.bridge.config.Encode(row); err != nil {
			return nil, nil, &Error{Op: "write row", Account: account.ID, Code: Internal, Err: err}
		}
		if groups == nil {
			continue
		}
		key, err := r.key(account, region, row)
		if err != nil {
			return nil, nil, err
		}
		text, err := r.bridge.config.Encode(key)
		if err != nil {
			return nil, nil, &Error{Op: "write group", Account: account.ID, Code: Internal, Err: err}
		}
		groups[string(text)]++
	}
	return rows, groups, nil
}

func (r *run) key(account Account, region string, row any) (any, error) {
	switch r.groupBy {
	case "account_id":
		return string(account.ID), nil
	case "account_name":
		if account.Name == "" {
			return string(account.ID), nil
		}
		return account.Name, nil
	case "environment":
		return account.Environment, nil
	case "region":
		return region, nil
	default:
		return r.shape.Key(row)
	}
}

package planner_test

import (
	"encoding/json"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/bedrock/planner"
	"github.com/google/go-cmp/cmp"
)

func resources(kind string, more ...func(*planner.Question)) planner.Question {
	q := planner.Question{Intent: planner.Resources, Verb: planner.List, Kinds: []string{kind}}
	for _, m := range more {
		m(&q)
	}
	return q
}

func scope(selectors ...planner.Selector) func(*planner.Question) {
	return func(q *planner.Question) { q.Scope = selectors }
}

func regions(r ...string) func(*planner.Question) {
	return func(q *planner.Question) { q.Regions = r }
}

func verb(v planner.Verb) func(*planner.Question) {
	return func(q *planner.Question) { q.Verb = v }
}

func filter(f planner.Filter) func(*planner.Question) {
	return func(q *planner.Question) { q.Filter = f }
}

func unread(words ...string) func(*planner.Question) {
	return func(q *planner.Question) { q.Unread = words }
}

func group(field string) func(*planner.Question) {
	return func(q *planner.Question) { q.Group = field }
}

func cue(q *planner.Question) { q.Cue = true }

var (
	all        = planner.Selector{Text: "all accounts", Readings: []string{"all"}}
	id2        = planner.Selector{Text: "222222222222", Readings: []string{"222222222222"}}
	prod       = planner.Selector{Text: "prod", Readings: []string{"env:prod", "prod"}}
	production = planner.Selector{Text: "production", Readings: []string{"production", "env:prod", "env:production"}}
	staging    = planner.Selector{Text: "staging", Readings: []string{"env:staging", "staging"}}
)

func named(text string) planner.Selector {
	return planner.Selector{Text: text, Readings: []string{text}}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]planner.Question{
		// Kinds.
		"List EC2 instances in account 222222222222":                  resources("ec2", scope(id2)),
		"list ec2 instances in 2222-2222-2222":                        resources("ec2", scope(planner.Selector{Text: "2222-2222-2222", Readings: []string{"222222222222"}})),
		"show me the S3 buckets of production":                        resources("s3", scope(production)),
		"Lambda functions in all accounts?":                           resources("lambda", scope(all)),
		"What RDS databases do we have everywhere?":                   resources("rds", scope(all), regions("all")),
		"which IAM roles are there in the Staging account?":           resources("role", scope(planner.Selector{Text: "Staging", Readings: []string{"Staging", "env:staging"}})),
		"list roles in account prod":                                  resources("role", scope(planner.Selector{Text: "prod", Readings: []string{"prod", "env:prod"}})),
		"Which security groups are open to the world?":                resources("sg", filter(planner.Filter{Open: true})),
		"open security groups in prod, all regions":                   resources("sg", scope(prod), regions("all"), filter(planner.Filter{Open: true})),
		"security groups that allow 0.0.0.0/0 in eu-west-1":           resources("sg", regions("eu-west-1"), filter(planner.Filter{Open: true})),
		"what is exposed to the internet in production?":              resources("sg", scope(production), filter(planner.Filter{Open: true})),
		"list db instances":                                           resources("rds"),
		"rds instances in prod":                                       resources("rds", scope(prod)),
		"list VMs in account Production":                              resources("ec2", scope(planner.Selector{Text: "Production", Readings: []string{"Production", "env:prod", "env:production"}})),
		"list the vpcs in us-east-1":                                  resources("vpc", regions("us-east-1")),
		"instances and buckets in prod":                               {Intent: planner.Resources, Verb: planner.List, Kinds: []string{"ec2", "s3"}, Scope: []planner.Selector{prod}},
		"Please create a list of all Lambda functions in prod":        resources("lambda", scope(prod)),
		"What EC2 instances are in the Production account right now?": resources("ec2", scope(planner.Selector{Text: "Production", Readings: []string{"Production", "env:prod", "env:production"}})),

		// Accounts.
		"list instances in prod":                                   resources("ec2", scope(prod)),
		"list production instances":                                resources("ec2", scope(production)),
		"instances in env:prod":                                    resources("ec2", scope(prod)),
		"instances in staging environment":                         resources("ec2", scope(staging)),
		"instances in the production environment":                  resources("ec2", scope(planner.Selector{Text: "production", Readings: []string{"env:prod", "env:production", "production"}})),
		"instances in environment blue":                            resources("ec2", scope(planner.Selector{Text: "blue", Readings: []string{"env:blue", "blue"}})),
		"buckets in production and staging":                        resources("s3", scope(production, staging)),
		"buckets in accounts 111111111111 and 222222222222":        resources("s3", scope(named("111111111111"), id2)),
		"buckets in account \"Data Lake\"":                         resources("s3", scope(named("Data Lake"))),
		"buckets in the Data Lake account":                         resources("s3", scope(named("Data Lake"))),
		"buckets in accounts Data Lake, Central and Billing":       resources("s3", scope(named("Data Lake"), named("Central"), named("Billing"))),
		"How many lambda functions does Central have?":             resources("lambda", verb(planner.Count), scope(named("Central"))),
		"buckets in account 12345":                                 resources("s3", scope(named("12345"))),
		"list ec2 instances in account 222222222222 in eu-west-1":  resources("ec2", scope(id2), regions("eu-west-1")),
		"list ec2 instances across all of our accounts":            resources("ec2", scope(all)),
		"list ec2 instances in every account and every region":     resources("ec2", scope(all), regions("all")),
		"what instances does the organization have in all regions": resources("ec2", scope(all), regions("all")),

		// Regions.
		"instances in us-east-1 and eu-west-1":         resources("ec2", regions("us-east-1", "eu-west-1")),
		"instances in Ireland and N. Virginia in prod": resources("ec2", regions("eu-west-1", "us-east-1"), scope(prod)),
		"instances in all Regions":                     resources("ec2", regions("all")),
		"instances in each AWS region":                 resources("ec2", regions("all")),
		"instances in the eu-west-1 region of Staging": resources("ec2", regions("eu-west-1"), scope(planner.Selector{Text: "Staging", Readings: []string{"env:staging", "Staging"}})),

		// Filters and verbs.
		"how many running instances are there in prod?":               resources("ec2", verb(planner.Count), scope(prod), filter(planner.Filter{State: "running"})),
		"count stopped t3.small instances":                            resources("ec2", verb(planner.Count), filter(planner.Filter{State: "stopped", Type: "t3.small"})),
		"list m6i instances":                                          resources("ec2", filter(planner.Filter{Type: "m6i.*"})),
		"python3.12 functions in prod":                                resources("lambda", scope(prod), filter(planner.Filter{Type: "python3.12*"})),
		"postgres databases":                                          resources("rds", filter(planner.Filter{Type: "postgres*"})),
		"Which account has an instance named web-1?":                  resources("ec2", verb(planner.Which), filter(planner.Filter{Name: "web-1"})),
		"Which accounts have instances running in eu-west-1?":         resources("ec2", verb(planner.Which), regions("eu-west-1"), filter(planner.Filter{State: "running"})),
		"which account owns i-0123456789abcdef0?":                     resources("ec2", verb(planner.Which), filter(planner.Filter{ID: "i-0123456789abcdef0"})),
		"where is bucket orders-eu?":                                  resources("s3", verb(planner.Which), filter(planner.Filter{Name: "orders-eu"})),
		"in which account is the function called checkout":            resources("lambda", verb(planner.Which), filter(planner.Filter{Name: "checkout"})),
		"which accounts have no databases in eu-west-1?":              resources("rds", verb(planner.None), regions("eu-west-1")),
		"which account has the most Lambda functions?":                resources("lambda", verb(planner.Most)),
		"what account has the fewest buckets":                         resources("s3", verb(planner.Fewest)),
		"roles starting with CentralOps in prod":                      resources("role", scope(prod), filter(planner.Filter{Name: "CentralOps*"})),
		"instances with web in the name":                              resources("ec2", filter(planner.Filter{Name: "*web*"})),
		"is there an instance named 'web-1' in Production, us-east-1": resources("ec2", regions("us-east-1"), scope(planner.Selector{Text: "Production", Readings: []string{"Production", "env:prod", "env:production"}}), filter(planner.Filter{Name: "web-1"})),
		"list instances launched yesterday in prod":                   resources("ec2", scope(prod), unread("launched", "yesterday")),

		"how many instances by type in prod?":               resources("ec2", verb(planner.Count), scope(prod), group("type")),
		"number of instances per account in all accounts":   resources("ec2", verb(planner.Count), scope(all), group("account_name")),
		"buckets by region":                                 resources("s3", group("region")),
		"count instances by instance type for each account": resources("ec2", verb(planner.Count), group("type"), scope(all)),

		// Accounts themselves.
		"list accounts":                     {Intent: planner.Accounts, Verb: planner.List},
		"Which accounts may I query?":       {Intent: planner.Accounts, Verb: planner.List},
		"what accounts can I see":           {Intent: planner.Accounts, Verb: planner.List},
		"which accounts are in prod?":       {Intent: planner.Accounts, Verb: planner.List, Search: "prod"},
		"how many accounts do I have?":      {Intent: planner.Accounts, Verb: planner.List},
		"list all accounts":                 {Intent: planner.Accounts, Verb: planner.List},
		"show me the production accounts ?": {Intent: planner.Accounts, Verb: planner.List, Search: "prod"},

		"what is account 222222222222?":     {Intent: planner.Accounts, Verb: planner.List, Search: "222222222222"},
		"which accounts can bob query?":     {Intent: planner.Unknown, Verb: planner.Which, Unread: []string{"bob"}},
		"which accounts have EKS clusters?": {Intent: planner.Unknown, Verb: planner.Which, Unread: []string{"EKS", "clusters"}},
		// What is in an account is no question for the account.
		"what's in the staging account?":    {Intent: planner.Fragment, Verb: planner.List, Scope: []planner.Selector{{Text: "staging", Readings: []string{"staging", "env:staging"}}}},
		"list EKS clusters in all accounts": {Intent: planner.Fragment, Verb: planner.List, Scope: []planner.Selector{all}, Shows: true, Unread: []string{"EKS", "clusters"}},

		// What would be answered wrongly if a word were passed over.
		"instances not in us-east-1":                               {Intent: planner.Exclusion, Unread: []string{"not"}},
		"Which instances aren't running?":                          {Intent: planner.Exclusion, Unread: []string{"aren't"}},
		"list all instances except in production":                  {Intent: planner.Exclusion, Unread: []string{"except"}},
		"buckets in all accounts other than Staging":               {Intent: planner.Exclusion, Unread: []string{"other than"}},
		"everything but buckets in prod":                           {Intent: planner.Exclusion, Unread: []string{"but"}},
		"instances without a name":                                 {Intent: planner.Exclusion, Unread: []string{"without"}},
		"which IAM users have no MFA?":                             {Intent: planner.Exclusion, Unread: []string{"no"}},
		"which accounts are not in prod?":                          {Intent: planner.Exclusion, Unread: []string{"not"}},
		"call ec2:DescribeVpcs in all accounts except prod":        {Intent: planner.Exclusion, Unread: []string{"except"}},
		"which accounts do not have databases?":                    resources("rds", verb(planner.None)),
		"which accounts don't have databases?":                     resources("rds", verb(planner.None)),
		"no, in staging":                                           {Intent: planner.Fragment, Verb: planner.List, Scope: []planner.Selector{staging}},
		"instances, running or not, in staging":                    resources("ec2", scope(staging), filter(planner.Filter{State: "running"})),
		"number of instances by account and type":                  resources("ec2", verb(planner.Count), group("account_name"), unread("and type")),
		"list ec2 instances in acount 222222222222":                resources("ec2", scope(id2), unread("acount")),
		"list ec2 instances in Production (222222222222)":          resources("ec2", scope(id2, planner.Selector{Text: "Production", Readings: []string{"Production", "env:prod", "env:production"}})),
		"list instances in eu-west1":                               resources("ec2", regions("eu-west1")),
		"list instances in us-east":                                resources("ec2", regions("us-east")),
		"instances in prod vs staging":                             resources("ec2", scope(prod, staging)),
		"which security groups allow SSH from anywhere?":           resources("sg", filter(planner.Filter{Open: true, Port: 22})),
		"security groups with port 3306 open to the world in prod": resources("sg", scope(prod), filter(planner.Filter{Open: true, Port: 3306})),
		"which functions still use Python 3.8?":                    resources("lambda", filter(planner.Filter{Type: "python3.8*"})),
		"functions on node 18":                                     resources("lambda", filter(planner.Filter{Type: "nodejs18*"})),
		"what is the type of web-1 in prod, an instance?":          resources("ec2", scope(prod), filter(planner.Filter{Name: "web-1"})),
		"in which region is the checkout function?":                resources("lambda", verb(planner.Which), filter(planner.Filter{Name: "checkout"})),
		"list the roles that start with Central":                   resources("role", filter(planner.Filter{Name: "Central*"})),
		"which buckets did we create in prod?":                     resources("s3", scope(prod), unread("did", "create")),

		"which databases are public?":                       resources("rds", filter(planner.Filter{Open: true})),
		"which accounts have public databases?":             resources("rds", verb(planner.Which), filter(planner.Filter{Open: true})),
		"count the security groups per VPC":                 resources("sg", verb(planner.Count), group("vpc")),
		"which account has the biggest number of functions": resources("lambda", verb(planner.Most)),
		"which environment has the most instances?":         resources("ec2", verb(planner.Most), group("environment")),
		"which region has the fewest functions?":            resources("lambda", verb(planner.Fewest), group("region"), regions("all")),
		"what region in prod has the most instances":        resources("ec2", verb(planner.Most), group("region"), regions("all"), scope(prod)),
		"which team has the most buckets?":                  resources("s3", verb(planner.Most), unread("which team")),
		"where is instance bastion running?":                resources("ec2", verb(planner.Which), filter(planner.Filter{Name: "bastion", State: "running"})),
		"where are instances running?":                      resources("ec2", verb(planner.Which), filter(planner.Filter{State: "running"})),
		"how much do we spend on ec2?":                      {Intent: planner.Unknown, Unread: []string{"spend"}},
		"what do the instances in prod cost?":               {Intent: planner.Unknown, Unread: []string{"cost"}},
		"instances in account cost":                         resources("ec2", scope(named("cost"))),
		"show me the secret values in prod":                 {Intent: planner.Secret},
		"list the database passwords":                       resources("rds", unread("passwords")),
		"list accounts tagged team=shop":                    {Intent: planner.Accounts, Verb: planner.List, Search: "team=shop"},

		// Follow-ups by themselves.
		"and in staging?":          {Intent: planner.Fragment, Verb: planner.List, Scope: []planner.Selector{staging}, Cue: true},
		"what about eu-west-1?":    {Intent: planner.Fragment, Verb: planner.List, Regions: []string{"eu-west-1"}, Cue: true},
		"And S3 buckets?":          resources("s3", cue),
		"and Production?":          {Intent: planner.Fragment, Verb: planner.List, Scope: []planner.Selector{{Text: "Production", Readings: []string{"Production", "env:prod", "env:production"}}}, Cue: true},
		"only the running ones":    {Intent: planner.Fragment, Verb: planner.List, Filter: planner.Filter{State: "running"}, Cue: true},
		"how many?":                {Intent: planner.Fragment, Verb: planner.Count},
		"which of them are idle?":  {Intent: planner.Fragment, Verb: planner.List, Filter: planner.Filter{State: "stopped"}, Shows: true},
		"what about all accounts?": {Intent: planner.Fragment, Verb: planner.List, Scope: []planner.Selector{all}, Cue: true},

		// Documentation.
		"documentation: how do I rotate access keys?":          {Intent: planner.Documentation, Search: "how do I rotate access keys?"},
		"search the docs for Lambda timeouts":                  {Intent: planner.Documentation, Search: "Lambda timeouts"},
		"How do I stop an EC2 instance?":                       {Intent: planner.Documentation, Search: "How do I stop an EC2 instance?"},
		"what is the maximum timeout of a Lambda function?":    {Intent: planner.Documentation, Search: "what is the maximum timeout of a Lambda function?"},
		"read https://docs.aws.amazon.com/lambda/latest/dg/x.": {Intent: planner.ReadPage, Search: "https://docs.aws.amazon.com/lambda/latest/dg/x"},

		// Changes.
		"stop instance i-0123456789abcdef0":         {Intent: planner.Write},
		"Please delete bucket orders in production": {Intent: planner.Write},
		"can you launch a new t3.micro in staging":  {Intent: planner.Write},
		"terminate everything":                      {Intent: planner.Write},
		"list instances and then terminate them":    {Intent: planner.Write},

		// Operations.
		"call ec2:DescribeVpcs in all accounts, eu-west-1": {Intent: planner.Operation, Service: "ec2", Operation: "DescribeVpcs", Scope: []planner.Selector{all}, Regions: []string{"eu-west-1"}},
		"run ec2:TerminateInstances in prod":               {Intent: planner.Operation, Service: "ec2", Operation: "TerminateInstances", Scope: []planner.Selector{prod}},
		"call ec2 DescribeVpcs":                            {Intent: planner.Operation, Service: "ec2", Operation: "DescribeVpcs"},
		"call ec2:describe-vpcs in prod":                   {Intent: planner.Operation, Service: "ec2", Operation: "DescribeVpcs", Scope: []planner.Selector{prod}},
		"aws ec2 describe-vpcs --region eu-west-1":         {Intent: planner.Operation, Service: "ec2", Operation: "DescribeVpcs", Regions: []string{"eu-west-1"}},
		"elbv2 describe-load-balancers in prod":            {Intent: planner.Operation, Service: "elbv2", Operation: "DescribeLoadBalancers", Scope: []planner.Selector{prod}},
		"aws ec2 terminate-instances":                      {Intent: planner.Operation, Service: "ec2", Operation: "TerminateInstances"},
		"aws s3api list-buckets --output json":             {Intent: planner.Operation, Service: "s3", Operation: "ListBuckets"},
		`call iam:ListRoles in staging with {"PathPrefix":"/x/"} select Roles[].RoleName`: {
			Intent: planner.Operation, Service: "iam", Operation: "ListRoles", Scope: []planner.Selector{staging},
			Params: json.RawMessage(`{"PathPrefix":"/x/"}`), Select: "Roles[].RoleName",
		},

		// A type has a dot in it, too.
		"m6i.large instances in prod": resources("ec2", scope(prod), filter(planner.Filter{Type: "m6i.large"})),
		"t3.micro":                    resources("ec2", filter(planner.Filter{Type: "t3.micro"})),

		// Nothing that the rules know.
		"help":                      {Intent: planner.Help},
		"hello":                     {Intent: planner.Help},
		"":                          {Intent: planner.Help},
		"What can you do?":          {Intent: planner.Help},
		"tell me a joke":            {Intent: planner.Unknown, Verb: planner.List, Unread: []string{"joke"}},
		"how much did S9 cost":      {Intent: planner.Unknown, Verb: planner.Count, Unread: []string{"did", "S9", "cost"}},
		"What is the weather like?": {Intent: planner.Unknown, Verb: planner.List, Unread: []string{"weather", "like"}},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, planner.Parse(text)); diff != "" {
				t.Errorf("Parse(%q) mismatch (-want +got):\n%s", text, diff)
			}
		})
	}
}

// Package observability declares what an operator watches: metrics out of the bridge's audit lines, alarms, a dashboard,
// and the delivery of the Gateway's logs.
package observability

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/central-ops/central-ops/infra/policy"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/budgets"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/kms"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sns"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args of Observability.
type Args struct {
	Prefix                         string
	Place                          policy.Place
	BridgeFunction, BridgeLogGroup string
	GatewayARN                     pulumi.StringInput
	RuntimeARN                     pulumi.StringInput
	Model                          string
	DailyTokens                    int    // alarm above so many tokens a day; 0 for none
	MonthlyBudgetUSD               int    // tell Email when the account's month costs more; 0 for never
	Email                          string // "" for nobody
	RetentionDays                  int
	GatewayLogs                    bool
}

// Observability is the component.
type Observability struct {
	pulumi.ResourceState
}

// metric is a metric of the bridge's function with an alarm of its own.
type metric struct {
	name, metric, statistic, description string
	threshold                            float64
	period                               int // seconds
}

// New declares an Observability.
func New(ctx *pulumi.Context, name string, a *Args, opts ...pulumi.ResourceOption) (*Observability, error) {
	c := &Observability{}
	if err := ctx.RegisterComponentResource("central-ops:observability:Observability", name, c, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(c)
	key, err := kms.NewKey(ctx, name, &kms.KeyArgs{
		Description: pulumi.String(a.Prefix + " alarms"), Policy: pulumi.String(policy.AlarmKey(a.Place, a.Prefix).JSON()),
		EnableKeyRotation: pulumi.Bool(true), DeletionWindowInDays: pulumi.Int(7),
	}, parent)
	if err != nil {
		return nil, err
	}
	topic, err := sns.NewTopic(ctx, name, &sns.TopicArgs{Name: pulumi.String(a.Prefix + "-alarms"), KmsMasterKeyId: key.Arn}, parent)
	if err != nil {
		return nil, err
	}
	if a.Email != "" {
		if _, err := sns.NewTopicSubscription(ctx, name, &sns.TopicSubscriptionArgs{Topic: topic.Arn, Protocol: pulumi.String("email"), Endpoint: pulumi.String(a.Email)}, parent); err != nil {
			return nil, err
		}
	}
	// The audit line of each target is {"msg":"target finished","status":"denied",...}; see services/bridge.
	space := "CentralOps/" + a.Prefix
	for _, filter := range []struct{ name, metric, pattern string }{
		{"denied", "DeniedTargets", `{ $.msg = "target finished" && $.status = "denied" }`},
		{"targets", "Targets", `{ $.msg = "target finished" }`},
	} {
		if _, err := cloudwatch.NewLogMetricFilter(ctx, name+"-"+filter.name, &cloudwatch.LogMetricFilterArgs{
			Name: pulumi.String(a.Prefix + "-" + filter.name), LogGroupName: pulumi.String(a.BridgeLogGroup), Pattern: pulumi.String(filter.pattern),
			MetricTransformation: &cloudwatch.LogMetricFilterMetricTransformationArgs{
				Name: pulumi.String(filter.metric), Namespace: pulumi.String(space), Value: pulumi.String("1"), DefaultValue: pulumi.String("0"),
			},
		}, parent); err != nil {
			return nil, err
		}
	}
	if err := alarmOnDeniedShare(ctx, name, a.Prefix, space, topic, parent); err != nil {
		return nil, err
	}
	for _, m := range []metric{
		{"bridge-errors", "Errors", "Sum", "the bridge failed: read its log", 1, 300},
		{"bridge-throttles", "Throttles", "Sum", "the bridge was throttled: raise the account's Lambda concurrency", 1, 300},
		{"bridge-latency", "Duration", "p95", "queries take more than 25 s of the 28 s they have", 25000, 900},
	} {
		args := &cloudwatch.MetricAlarmArgs{
			Name: pulumi.String(a.Prefix + "-" + m.name), AlarmDescription: pulumi.String(m.description),
			Namespace: pulumi.String("AWS/Lambda"), MetricName: pulumi.String(m.metric), Dimensions: pulumi.StringMap{"FunctionName": pulumi.String(a.BridgeFunction)},
			ComparisonOperator: pulumi.String("GreaterThanOrEqualToThreshold"), Threshold: pulumi.Float64(m.threshold),
			EvaluationPeriods: pulumi.Int(1), Period: pulumi.Int(m.period), TreatMissingData: pulumi.String("notBreaching"),
			AlarmActions: pulumi.Array{topic.Arn}, OkActions: pulumi.Array{topic.Arn},
		}
		if m.statistic == "p95" {
			args.ExtendedStatistic = pulumi.String(m.statistic)
		} else {
			args.Statistic = pulumi.String(m.statistic)
		}
		if _, err := cloudwatch.NewMetricAlarm(ctx, name+"-"+m.name, args, parent); err != nil {
			return nil, err
		}
	}
	if err := alarmOnRuntime(ctx, name, a, topic, parent); err != nil {
		return nil, err
	}
	if a.DailyTokens > 0 {
		if err := alarmOnTokens(ctx, name, a, topic, parent); err != nil {
			return nil, err
		}
	}
	if a.MonthlyBudgetUSD > 0 {
		if err := budget(ctx, name, a, parent); err != nil {
			return nil, err
		}
	}
	body := a.RuntimeARN.ToStringOutput().ApplyT(func(arn string) (string, error) { return dashboard(a, space, arn) }).(pulumi.StringOutput)
	if _, err := cloudwatch.NewDashboard(ctx, name, &cloudwatch.DashboardArgs{DashboardName: pulumi.String(a.Prefix), DashboardBody: body}, parent); err != nil {
		return nil, err
	}
	if a.GatewayLogs {
		if err := deliver(ctx, name, a, parent); err != nil {
			return nil, err
		}
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{})
}

// deniedShare is the part of an hour's targets, in per cent, that may be denied. So few targets say nothing.
const (
	deniedShare  = 20
	deniedSample = 20
)

// alarmOnDeniedShare compares what was denied with what was asked: a number alone grows with use.
func alarmOnDeniedShare(ctx *pulumi.Context, name, prefix, space string, topic *sns.Topic, parent pulumi.ResourceOption) error {
	sum := func(id, metric string) *cloudwatch.MetricAlarmMetricQueryArgs {
		return &cloudwatch.MetricAlarmMetricQueryArgs{Id: pulumi.String(id), Metric: &cloudwatch.MetricAlarmMetricQueryMetricArgs{
			Namespace: pulumi.String(space), MetricName: pulumi.String(metric), Stat: pulumi.String("Sum"), Period: pulumi.Int(3600),
		}}
	}
	_, err := cloudwatch.NewMetricAlarm(ctx, name+"-denied-share", &cloudwatch.MetricAlarmArgs{
		Name:             pulumi.String(prefix + "-denied-share"),
		AlarmDescription: pulumi.String("a large part of the targets was denied: check central-ops:access and the target roles' trust"),
		MetricQueries: cloudwatch.MetricAlarmMetricQueryArray{
			sum("denied", "DeniedTargets"), sum("targets", "Targets"),
			&cloudwatch.MetricAlarmMetricQueryArgs{Id: pulumi.String("share"), Label: pulumi.String("denied targets in per cent"), ReturnData: pulumi.Bool(true),
				Expression: pulumi.Sprintf("IF(targets >= %d, 100 * denied / targets, 0)", deniedSample)},
		},
		ComparisonOperator: pulumi.String("GreaterThanOrEqualToThreshold"), Threshold: pulumi.Float64(deniedShare),
		EvaluationPeriods: pulumi.Int(1), TreatMissingData: pulumi.String("notBreaching"),
		AlarmActions: pulumi.Array{topic.Arn}, OkActions: pulumi.Array{topic.Arn},
	}, parent)
	return err
}

// ofRuntime asks for a metric of the Runtime, whatever other dimensions it is published under: AWS names them nowhere, and
// a metric that is asked for with another set of dimensions than it has is another metric, without data.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/observability-runtime-metrics.html
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-metrics-insights-querylanguage.html
func ofRuntime(statistic, metric, arn string) string {
	return fmt.Sprintf(`SELECT %s(%s) FROM "AWS/Bedrock-AgentCore" WHERE Resource = '%s'`, statistic, metric, arn)
}

func alarmOnRuntime(ctx *pulumi.Context, name string, a *Args, topic *sns.Topic, parent pulumi.ResourceOption) error {
	query := a.RuntimeARN.ToStringOutput().ApplyT(func(arn string) string { return ofRuntime("SUM", "SystemErrors", arn) }).(pulumi.StringOutput)
	_, err := cloudwatch.NewMetricAlarm(ctx, name+"-runtime-errors", &cloudwatch.MetricAlarmArgs{
		Name: pulumi.String(a.Prefix + "-runtime-errors"), AlarmDescription: pulumi.String("the Runtime failed: read the agent's log"),
		MetricQueries: cloudwatch.MetricAlarmMetricQueryArray{
			&cloudwatch.MetricAlarmMetricQueryArgs{Id: pulumi.String("errors"), Label: pulumi.String("system errors"), ReturnData: pulumi.Bool(true),
				Expression: query, Period: pulumi.Int(300)},
		},
		ComparisonOperator: pulumi.String("GreaterThanOrEqualToThreshold"), Threshold: pulumi.Float64(1),
		EvaluationPeriods: pulumi.Int(1), TreatMissingData: pulumi.String("notBreaching"),
		AlarmActions: pulumi.Array{topic.Arn}, OkActions: pulumi.Array{topic.Arn},
	}, parent)
	return err
}

// alarmOnTokens adds up what the model read and wrote in a day, which is what it costs. The model's metrics are of the
// account and Region: environments that share those and the model share the number, too.
func alarmOnTokens(ctx *pulumi.Context, name string, a *Args, topic *sns.Topic, parent pulumi.ResourceOption) error {
	day := func(id, metric string) *cloudwatch.MetricAlarmMetricQueryArgs {
		return &cloudwatch.MetricAlarmMetricQueryArgs{Id: pulumi.String(id), Metric: &cloudwatch.MetricAlarmMetricQueryMetricArgs{
			Namespace: pulumi.String("AWS/Bedrock"), MetricName: pulumi.String(metric), Stat: pulumi.String("Sum"), Period: pulumi.Int(86400),
			Dimensions: pulumi.StringMap{"ModelId": pulumi.String(a.Model)},
		}}
	}
	_, err := cloudwatch.NewMetricAlarm(ctx, name+"-model-tokens", &cloudwatch.MetricAlarmArgs{
		Name:             pulumi.String(a.Prefix + "-model-tokens"),
		AlarmDescription: pulumi.String("more model tokens in a day than central-ops:dailyTokens"),
		MetricQueries: cloudwatch.MetricAlarmMetricQueryArray{
			day("input", "InputTokenCount"), day("output", "OutputTokenCount"),
			&cloudwatch.MetricAlarmMetricQueryArgs{Id: pulumi.String("tokens"), Label: pulumi.String("model tokens"), ReturnData: pulumi.Bool(true),
				Expression: pulumi.String("FILL(input, 0) + FILL(output, 0)")},
		},
		ComparisonOperator: pulumi.String("GreaterThanOrEqualToThreshold"), Threshold: pulumi.Float64(float64(a.DailyTokens)),
		EvaluationPeriods: pulumi.Int(1), TreatMissingData: pulumi.String("notBreaching"),
		AlarmActions: pulumi.Array{topic.Arn}, OkActions: pulumi.Array{topic.Arn},
	}, parent)
	return err
}

// budget is of the whole account: what a model costs carries no tag by which an environment could be told.
func budget(ctx *pulumi.Context, name string, a *Args, parent pulumi.ResourceOption) error {
	tell := func(kind string) *budgets.BudgetNotificationArgs {
		return &budgets.BudgetNotificationArgs{
			NotificationType: pulumi.String(kind), ComparisonOperator: pulumi.String("GREATER_THAN"), Threshold: pulumi.Float64(100),
			ThresholdType: pulumi.String("PERCENTAGE"), SubscriberEmailAddresses: pulumi.ToStringArray([]string{a.Email}),
		}
	}
	_, err := budgets.NewBudget(ctx, name, &budgets.BudgetArgs{
		Name: pulumi.String(a.Prefix), BudgetType: pulumi.String("COST"), TimeUnit: pulumi.String("MONTHLY"),
		LimitAmount: pulumi.String(strconv.Itoa(a.MonthlyBudgetUSD)), LimitUnit: pulumi.String("USD"),
		Notifications: budgets.BudgetNotificationArray{tell("ACTUAL"), tell("FORECASTED")},
	}, parent)
	return err
}

// dashboard is the body of the dashboard: a widget for each question of an operator, two in a row.
func dashboard(a *Args, space, runtimeARN string) (string, error) {
	type row = []any
	lambda := func(metric string) row { return row{"AWS/Lambda", metric, "FunctionName", a.BridgeFunction} }
	agent := func(statistic, metric string) row {
		return row{map[string]any{"expression": ofRuntime(statistic, metric, runtimeARN), "label": statistic + " " + metric, "id": "q" + statistic + metric}}
	}
	model := func(metric string) row { return row{"AWS/Bedrock", metric, "ModelId", a.Model} }
	var widgets []any
	for i, w := range []struct {
		title, statistic string
		rows             []row
	}{
		{"bridge: calls, errors, throttles", "Sum", []row{lambda("Invocations"), lambda("Errors"), lambda("Throttles")}},
		{"bridge: latency (p95, ms)", "p95", []row{lambda("Duration")}},
		{"targets: asked, denied", "Sum", []row{{space, "Targets"}, {space, "DeniedTargets"}}},
		{"agent: invocations, errors", "Sum", []row{agent("SUM", "Invocations"), agent("SUM", "SystemErrors"), agent("SUM", "UserErrors"), agent("SUM", "Throttles")}},
		{"agent: latency (mean and worst, ms)", "Average", []row{agent("AVG", "Latency"), agent("MAX", "Latency")}},
		{"model: tokens read, written", "Sum", []row{model("InputTokenCount"), model("OutputTokenCount")}},
	} {
		widgets = append(widgets, map[string]any{"type": "metric", "x": i % 2 * 12, "y": i / 2 * 6, "width": 12, "height": 6, "properties": map[string]any{
			"title": w.title, "region": a.Place.Region, "stat": w.statistic, "period": 300, "metrics": w.rows,
		}})
	}
	text, err := json.Marshal(map[string]any{"widgets": widgets})
	return string(text), err
}

// deliver has the Gateway's application logs written to a group of ours. They hold request and response bodies, so the
// group is short-lived; it is encrypted as every log group is.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/observability-configure.html
func deliver(ctx *pulumi.Context, name string, a *Args, parent pulumi.ResourceOption) error {
	group, err := cloudwatch.NewLogGroup(ctx, name+"-gateway", &cloudwatch.LogGroupArgs{
		Name: pulumi.String(fmt.Sprintf("/aws/vendedlogs/bedrock-agentcore/gateway/APPLICATION_LOGS/%s", a.Prefix)), RetentionInDays: pulumi.Int(min(a.RetentionDays, 7)),
	}, parent)
	if err != nil {
		return err
	}
	source, err := cloudwatch.NewLogDeliverySource(ctx, name+"-gateway", &cloudwatch.LogDeliverySourceArgs{
		Name: pulumi.String(a.Prefix + "-gateway"), LogType: pulumi.String("APPLICATION_LOGS"), ResourceArn: a.GatewayARN,
	}, parent)
	if err != nil {
		return err
	}
	destination, err := cloudwatch.NewLogDeliveryDestination(ctx, name+"-gateway", &cloudwatch.LogDeliveryDestinationArgs{
		Name: pulumi.String(a.Prefix + "-gateway"), OutputFormat: pulumi.String("json"),
		DeliveryDestinationConfiguration: &cloudwatch.LogDeliveryDestinationDeliveryDestinationConfigurationArgs{DestinationResourceArn: group.Arn},
	}, parent)
	if err != nil {
		return err
	}
	_, err = cloudwatch.NewLogDelivery(ctx, name+"-gateway", &cloudwatch.LogDeliveryArgs{
		DeliverySourceName: source.Name, DeliveryDestinationArn: destination.Arn,
	}, parent)
	return err
}

// Package observability declares what an operator watches: metrics out of the bridge's audit lines, alarms, a dashboard,
// and the delivery of the Gateway's logs.
package observability

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sns"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Args of Observability.
type Args struct {
	Prefix, Region                 string
	BridgeFunction, BridgeLogGroup string
	GatewayARN                     pulumi.StringInput
	RuntimeARN                     pulumi.StringInput
	Model                          string
	DailyTokens                    int    // alarm above so many tokens a day; 0 for none
	Email                          string // "" for nobody
	RetentionDays                  int
	GatewayLogs                    bool
}

// Observability is the component.
type Observability struct {
	pulumi.ResourceState
}

// metric is one row of the dashboard, with its alarm.
type metric struct {
	name, namespace, metric, statistic, description string
	dimensions                                      pulumi.StringMap
	threshold                                       float64
	period                                          int // seconds
}

// New declares an Observability.
func New(ctx *pulumi.Context, name string, a *Args, opts ...pulumi.ResourceOption) (*Observability, error) {
	c := &Observability{}
	if err := ctx.RegisterComponentResource("central-ops:observability:Observability", name, c, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(c)
	topic, err := sns.NewTopic(ctx, name, &sns.TopicArgs{Name: pulumi.String(a.Prefix + "-alarms"), KmsMasterKeyId: pulumi.String("alias/aws/sns")}, parent)
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
	function := pulumi.StringMap{"FunctionName": pulumi.String(a.BridgeFunction)}
	runtime := pulumi.StringMap{"Resource": a.RuntimeARN}
	model := pulumi.StringMap{"ModelId": pulumi.String(a.Model)}
	metrics := []metric{
		{"bridge-errors", "AWS/Lambda", "Errors", "Sum", "the bridge failed: read its log", function, 1, 300},
		{"bridge-throttles", "AWS/Lambda", "Throttles", "Sum", "the bridge was throttled: raise the account's Lambda concurrency", function, 1, 300},
		{"bridge-latency", "AWS/Lambda", "Duration", "p95", "queries take more than 25 s of the 28 s they have", function, 25000, 900},
		{"denied-targets", space, "DeniedTargets", "Sum", "many targets were denied: check central-ops:access and the target roles' trust", nil, 100, 3600},
		{"runtime-errors", "AWS/Bedrock-AgentCore", "SystemErrors", "Sum", "the Runtime failed: read the agent's log", runtime, 1, 300},
	}
	if a.DailyTokens > 0 {
		metrics = append(metrics, metric{"model-tokens", "AWS/Bedrock", "InputTokenCount", "Sum", "more model tokens in a day than central-ops:dailyTokens", model, float64(a.DailyTokens), 86400})
	}
	for _, m := range metrics {
		args := &cloudwatch.MetricAlarmArgs{
			Name: pulumi.String(a.Prefix + "-" + m.name), AlarmDescription: pulumi.String(m.description),
			Namespace: pulumi.String(m.namespace), MetricName: pulumi.String(m.metric), Dimensions: m.dimensions,
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
	body := pulumi.All(a.RuntimeARN).ApplyT(func(arns []any) (string, error) {
		var widgets []any
		for i, m := range metrics {
			row := []any{m.namespace, m.metric}
			switch m.namespace {
			case "AWS/Lambda":
				row = append(row, "FunctionName", a.BridgeFunction)
			case "AWS/Bedrock-AgentCore":
				row = append(row, "Resource", arns[0])
			case "AWS/Bedrock":
				row = append(row, "ModelId", a.Model)
			}
			widgets = append(widgets, map[string]any{"type": "metric", "x": i % 2 * 12, "y": i / 2 * 6, "width": 12, "height": 6, "properties": map[string]any{
				"title": m.name, "region": a.Region, "stat": m.statistic, "period": 300, "metrics": []any{row},
			}})
		}
		text, err := json.Marshal(map[string]any{"widgets": widgets})
		return string(text), err
	}).(pulumi.StringOutput)
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

package operations

import (
	"fmt"
	"testing"
)

// BenchmarkRedact redacts an answer of 1,000 instances, 14,000 strings: what a query of "all" has to go
// through when there are many accounts.
func BenchmarkRedact(b *testing.B) {
	tb := Load()
	items, strings := make([]any, 1000), 0
	for i := range items {
		item := map[string]any{
			"InstanceId": fmt.Sprintf("i-0123456789abc%04d", i), "InstanceType": "m5.large", "ImageId": "ami-0123456789abcdef0",
			"LaunchTime": "2026-01-02T03:04:05+00:00", "PrivateDnsName": "ip-10-0-0-1.eu-west-1.compute.internal",
			"PrivateIpAddress": "10.0.0.1", "SubnetId": "subnet-0123456789abcdef0", "VpcId": "vpc-0123456789abcdef0",
			"IamInstanceProfile": map[string]any{"Arn": "arn:aws:iam::111122223333:instance-profile/app", "Id": "AIPAEXAMPLE"},
			"State":              map[string]any{"Name": "running", "Code": float64(16)},
			"Tags":               []any{map[string]any{"Key": "Name", "Value": fmt.Sprintf("web-%04d", i)}},
			"EbsOptimized":       true, "ConsoleUrl": "https://eu-west-1.console.example.com/ec2/home?region=eu-west-1#Instances:sort=tag",
		}
		items[i] = item
		strings += 14
	}
	document := map[string]any{"Reservations": []any{map[string]any{"Instances": items}}}
	if _, fields := tb.Redact("ec2", "DescribeInstances", document); fields != 0 {
		b.Fatalf("%d fields of an answer without a secret were taken out", fields)
	}
	b.ReportAllocs()
	for b.Loop() {
		tb.Redact("ec2", "DescribeInstances", document)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*strings), "ns/string")
}

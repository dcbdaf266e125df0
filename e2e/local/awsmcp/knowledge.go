package awsmcp

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// page is one page of the sample documentation.
type page struct{ title, url, content string }

// corpus is a handful of pages in our own words, enough to see a documentation question travel. Each says where it
// comes from, so that nobody takes it for AWS's text.
var corpus = func() []page {
	const note = "\n\n(Sample text of the local platform's AWS MCP Server stand-in, not AWS documentation.)"
	pages := []page{
		{"Amazon EC2 instance lifecycle", "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html",
			"An instance is pending, running, stopping, stopped, shutting-down or terminated. A stopped instance is not billed for compute, but its EBS volumes are."},
		{"Security group rules", "https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html",
			"A rule allows traffic by protocol, port range and source. The source 0.0.0.0/0 is every IPv4 address: avoid it for SSH (22) and RDP (3389)."},
		{"Amazon S3 Block Public Access", "https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html",
			"Four settings, for an account or a bucket, override policies and ACLs that would make objects public."},
		{"IAM roles: source identity", "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html",
			"A source identity names the person behind a role session. It needs sts:SetSourceIdentity, appears in CloudTrail, and cannot change along a chain of roles."},
		{"AWS Lambda quotas", "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
			"A synchronous invocation carries at most 6 MB each way; a function runs for at most 15 minutes."},
		{"Amazon RDS DB instance status", "https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html",
			"An available DB instance accepts connections; others are creating, modifying, backing-up, stopped and so on."},
	}
	for i := range pages {
		pages[i].content += note
	}
	return pages
}()

// skills are the sample skills: name and text.
var skills = map[string]string{
	"ec2-inventory": "# EC2 inventory\nList instances with DescribeInstances in each Region; read Reservations[].Instances[].\n\n(Sample skill of the local platform's AWS MCP Server stand-in.)",
}

// regions are the Regions that the stand-in lists: those that are enabled by default in every account.
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
var regions = [][2]string{
	{"us-east-1", "US East (N. Virginia)"}, {"us-east-2", "US East (Ohio)"}, {"us-west-1", "US West (N. California)"}, {"us-west-2", "US West (Oregon)"},
	{"ap-south-1", "Asia Pacific (Mumbai)"}, {"ap-northeast-3", "Asia Pacific (Osaka)"}, {"ap-northeast-2", "Asia Pacific (Seoul)"},
	{"ap-southeast-1", "Asia Pacific (Singapore)"}, {"ap-southeast-2", "Asia Pacific (Sydney)"}, {"ap-northeast-1", "Asia Pacific (Tokyo)"},
	{"ca-central-1", "Canada (Central)"}, {"eu-central-1", "Europe (Frankfurt)"}, {"eu-west-1", "Europe (Ireland)"}, {"eu-west-2", "Europe (London)"},
	{"eu-west-3", "Europe (Paris)"}, {"eu-north-1", "Europe (Stockholm)"}, {"sa-east-1", "South America (Sao Paulo)"},
}

// answerKnowledge answers a tool that needs no credentials. Bad arguments are an error; what the tool itself cannot
// do is a result with errorMessage, as it was seen.
func answerKnowledge(name string, raw json.RawMessage) (any, error) {
	answer, err := knowledge(name, raw)
	if err != nil {
		return nil, err
	}
	return map[string]any{"content": map[string]any{"result": answer}}, nil
}

func knowledge(name string, raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	switch name {
	case "aws___search_documentation":
		var a struct {
			SearchPhrase string   `json:"search_phrase"`
			Topics       []string `json:"topics"`
			Limit        int      `json:"limit"`
		}
		if err := decodeStrict(raw, &a); err != nil {
			return nil, err
		}
		if strings.TrimSpace(a.SearchPhrase) == "" {
			return nil, errors.New("search_phrase is required")
		}
		return search(a.SearchPhrase, cmp.Or(a.Limit, 5)), nil
	case "aws___read_documentation":
		var a struct {
			Requests []readRequest `json:"requests"`
		}
		if err := decodeStrict(raw, &a); err != nil {
			return nil, err
		}
		if len(a.Requests) == 0 {
			return nil, errors.New("requests is required")
		}
		results := make([]map[string]any, len(a.Requests))
		for i, r := range a.Requests {
			results[i] = r.read()
		}
		return results, nil
	case "aws___retrieve_skill":
		var a struct {
			SkillName string `json:"skill_name"`
			File      string `json:"file"`
		}
		if err := decodeStrict(raw, &a); err != nil {
			return nil, err
		}
		content, ok := skills[a.SkillName]
		if !ok || a.File != "" {
			return map[string]any{"errorMessage": fmt.Sprintf("Skill '%s' or its file was not found.", a.SkillName)}, nil
		}
		return map[string]any{"skill_content": content}, nil
	case "aws___list_regions":
		listed := make([]map[string]string, len(regions))
		for i, r := range regions {
			listed[i] = map[string]string{"region_id": r[0], "region_long_name": r[1]}
		}
		return listed, nil
	default:
		return availability(raw)
	}
}

// search ranks pages by how many words of the phrase they hold.
func search(phrase string, limit int) []map[string]any {
	type hit struct {
		page
		score int
	}
	var hits []hit
	for _, p := range corpus {
		score := 0
		haystack := strings.ToLower(p.title + " " + p.content)
		for word := range strings.FieldsSeq(strings.ToLower(phrase)) {
			if len(word) > 2 && strings.Contains(haystack, word) {
				score++
			}
		}
		if score > 0 {
			hits = append(hits, hit{p, score})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return b.score - a.score })
	found := []map[string]any{}
	for i, h := range hits[:min(len(hits), max(limit, 0))] {
		found = append(found, map[string]any{"rank_order": i + 1, "title": h.title, "url": h.url, "context": h.content})
	}
	return found
}

type readRequest struct {
	URL        string `json:"url"`
	MaxLength  int    `json:"max_length"`
	StartIndex int    `json:"start_index"`
}

func (r readRequest) read() map[string]any {
	i := slices.IndexFunc(corpus, func(p page) bool { return p.url == r.URL })
	if i < 0 {
		return map[string]any{"status": "ERROR", "url": r.URL, "error_code": "not_found"}
	}
	all := []rune(corpus[i].content)
	start := min(max(r.StartIndex, 0), len(all))
	end := min(start+cmp.Or(max(r.MaxLength, 0), 10_000), len(all))
	return map[string]any{
		"status": "SUCCESS", "url": r.URL, "redirected_url": r.URL, "content": string(all[start:end]),
		"total_length": len(all), "end_index": end, "truncated": end < len(all),
	}
}

func availability(raw json.RawMessage) (any, error) {
	var a struct {
		Regions      []string `json:"regions"`
		ResourceType string   `json:"resource_type"`
		Filters      []string `json:"filters"`
		NextToken    string   `json:"next_token"`
	}
	if err := decodeStrict(raw, &a); err != nil {
		return nil, err
	}
	member, ok := map[string]string{"product": "products", "api": "service_apis", "cfn": "cfn_resources"}[a.ResourceType]
	if !ok {
		return nil, errors.New("resource_type is product, api or cfn")
	}
	if len(a.Regions) == 0 {
		return nil, errors.New("regions is required")
	}
	names := a.Filters
	if len(names) == 0 {
		names = []string{"Amazon EC2", "Amazon S3", "AWS Lambda"}
	}
	available, failed := map[string]map[string]string{}, []string{}
	for _, region := range a.Regions {
		if !slices.ContainsFunc(regions, func(r [2]string) bool { return r[0] == region }) {
			failed = append(failed, region)
			continue
		}
		for _, name := range names {
			if available[name] == nil {
				available[name] = map[string]string{}
			}
			available[name][region] = "isAvailableIn"
		}
	}
	return map[string]any{member: available, "next_token": nil, "failed_regions": failed}, nil
}

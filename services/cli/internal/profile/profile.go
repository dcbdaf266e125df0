// Package profile keeps what the program knows between runs: where a deployment is (profiles) and
// who is signed in to it (tokens). Everything sits in one folder:
//
//	<folder>/current               name of the profile that is used when none is named
//	<folder>/profiles/<name>.json  Profile; no secrets
//	<folder>/tokens/<name>.json    Tokens; mode 0600
//	<folder>/history/<name>        lines typed in chat; mode 0600
//
// The folder is centralops in the operating system's configuration folder.
package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	centralops "github.com/central-ops/central-ops/services/cli"
)

// Profile says where a deployment of Central Ops is. All members are plain text; README.md and
// `centralops help settings` describe them.
type Profile struct {
	Name            string `json:"name,omitempty"`
	Environment     string `json:"environment,omitempty"`
	Region          string `json:"region,omitempty"`
	UserPoolID      string `json:"user_pool_id,omitempty"`
	ClientID        string `json:"client_id,omitempty"`
	CognitoEndpoint string `json:"cognito_endpoint,omitempty"`
	HostedUI        string `json:"hosted_ui,omitempty"`
	DiscoveryURL    string `json:"discovery_url,omitempty"`
	RuntimeURL      string `json:"runtime_url,omitempty"`
	RuntimeARN      string `json:"runtime_arn,omitempty"`
	Qualifier       string `json:"qualifier,omitempty"`
	GatewayURL      string `json:"gateway_url,omitempty"`
	GatewayAuth     string `json:"gateway_auth,omitempty"`
	MCPEndpoint     string `json:"mcp_endpoint,omitempty"`
}

// Field is one setting of a profile.
type Field struct {
	Key    string // in the profile file
	Flag   string // on the command line; the environment variable is EnvName
	Help   string
	Export string // stack output that configure --from-stack reads
	Needed bool   // of every deployment: a stack must export it
	Value  func(*Profile) *string
}

// EnvName returns the environment variable of the setting, such as CENTRALOPS_RUNTIME_ARN.
func (f Field) EnvName() string { return "CENTRALOPS_" + strings.ToUpper(f.Key) }

// Fields are all settings but the name, in the order in which they are shown.
var Fields = []Field{
	{"environment", "environment", "name of the deployment, such as dev", "environment", false,
		func(p *Profile) *string { return &p.Environment }},
	{"region", "region", "AWS Region of the deployment; default: that of the user pool", "region", false,
		func(p *Profile) *string { return &p.Region }},
	{"user_pool_id", "user-pool-id", "Cognito user pool that people sign in to", "userPoolId", true,
		func(p *Profile) *string { return &p.UserPoolID }},
	{"client_id", "client-id", "app client of that pool; it has no secret", "userPoolClientId", true,
		func(p *Profile) *string { return &p.ClientID }},
	{"cognito_endpoint", "cognito-endpoint", "URL of Cognito; default: that of the Region", "cognitoEndpoint", false,
		func(p *Profile) *string { return &p.CognitoEndpoint }},
	{"hosted_ui", "hosted-ui", "URL of the pool's domain, for sign-in with a browser", "hostedUiUrl", false,
		func(p *Profile) *string { return &p.HostedUI }},
	{"discovery_url", "discovery-url", "OpenID discovery document; default: that of the user pool", "discoveryUrl", false,
		func(p *Profile) *string { return &p.DiscoveryURL }},
	{"runtime_url", "runtime-url", "data plane of AgentCore; default: that of the Region", "runtimeUrl", false,
		func(p *Profile) *string { return &p.RuntimeURL }},
	{"runtime_arn", "runtime-arn", "ARN of the agent runtime", "runtimeArn", true,
		func(p *Profile) *string { return &p.RuntimeARN }},
	{"qualifier", "qualifier", "endpoint of the agent runtime; default: DEFAULT", "runtimeQualifier", false,
		func(p *Profile) *string { return &p.Qualifier }},
	{"gateway_url", "gateway-url", "MCP endpoint of the Gateway", "gatewayUrl", true,
		func(p *Profile) *string { return &p.GatewayURL }},
	{"gateway_auth", "gateway-auth", "whose tokens the Gateway takes, user or workload; default: user", "gatewayAuth", false,
		func(p *Profile) *string { return &p.GatewayAuth }},
	{"mcp_endpoint", "mcp-endpoint", "URL of the AWS MCP Server that the bridge uses, for doctor", "mcpEndpoint", false,
		func(p *Profile) *string { return &p.MCPEndpoint }},
}

// Folder returns the program's folder: CENTRALOPS_CONFIG_DIR if set, else centralops in the
// operating system's configuration folder.
func Folder(getenv func(string) string) (string, error) {
	if dir := getenv("CENTRALOPS_CONFIG_DIR"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", &centralops.Error{Op: "find the configuration folder", Code: centralops.Invalid, Usage: true,
			Message: err.Error(), Hint: "CENTRALOPS_CONFIG_DIR=<folder>", Err: err}
	}
	return filepath.Join(dir, "centralops"), nil
}

// Store is the program's folder.
type Store struct{ Dir string }

// ErrNoProfile is in the error of Load when there is no such profile.
var ErrNoProfile = errors.New("no such profile")

// names are what a profile may be called; they become file names.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// CheckName returns a usage error if name can't be that of a profile.
func CheckName(name string) error {
	if names.MatchString(name) {
		return nil
	}
	return &centralops.Error{Code: centralops.Invalid, Usage: true, Hint: "--profile dev",
		Message: fmt.Sprintf("profile name %q: only letters, digits, dot, _ and -, at most 64", name)}
}

// Current returns the name of the profile to use when none is named, or "" if there is none.
func (s Store) Current() (string, error) {
	file := filepath.Join(s.Dir, "current")
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", unusable("read", file, err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// Use makes name the current profile.
func (s Store) Use(name string) error {
	return writeFile(filepath.Join(s.Dir, "current"), []byte(name+"\n"))
}

// Names returns the names of all profiles, sorted.
func (s Store) Names() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.Dir, "profiles", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	var found []string
	for _, file := range files {
		found = append(found, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	return found, nil
}

// Path returns the file of the profile called name.
func (s Store) Path(name string) string { return filepath.Join(s.Dir, "profiles", name+".json") }

// Load returns the profile called name.
func (s Store) Load(name string) (Profile, error) {
	if err := CheckName(name); err != nil {
		return Profile{}, err
	}
	p, err := Read(s.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		known, listErr := s.Names()
		if listErr != nil {
			return Profile{}, listErr
		}
		hint := "centralops configure --from-stack <stack>"
		if len(known) > 0 {
			hint = "--profile " + strings.Join(known, ", or --profile ")
		}
		return Profile{}, &centralops.Error{Code: centralops.NotFound, Usage: true, Err: ErrNoProfile,
			Message: fmt.Sprintf("there is no profile %q in %s", name, filepath.Join(s.Dir, "profiles")), Hint: hint}
	}
	p.Name = name
	return p, err
}

// Save writes p under its name and returns the file.
func (s Store) Save(p Profile) (string, error) {
	if err := CheckName(p.Name); err != nil {
		return "", err
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode profile: %w", err)
	}
	file := s.Path(p.Name)
	return file, writeFile(file, append(raw, '\n'))
}

// Read returns the profile in a file. An unknown member is an error that names it.
func Read(file string) (Profile, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Profile{}, &centralops.Error{Op: "read profile", Code: centralops.NotFound, Usage: true, Err: err,
			Message: err.Error(), Hint: "centralops configure --from-stack <stack>"}
	}
	var p Profile
	if err := decode(raw, &p); err != nil {
		return Profile{}, &centralops.Error{Op: "read profile", Code: centralops.Invalid, Usage: true, Err: err,
			Message: file + ": " + strings.TrimPrefix(err.Error(), "json: "), Hint: "centralops help settings, for its members"}
	}
	return p, nil
}

// decode reads one JSON object and nothing behind it. Its errors are for people who don't know what the program is written in.
func decode(raw []byte, p *Profile) error {
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\ufeff")))) // some editors write a byte order mark
	decoder.DisallowUnknownFields()
	err := decoder.Decode(p)
	wrong, isWrong := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("it is empty")
	case isWrong && wrong.Field == "":
		return fmt.Errorf("it is no JSON object but of type %s", wrong.Value)
	case isWrong:
		return fmt.Errorf("%s must be text in quotes, not of type %s", wrong.Field, wrong.Value)
	case err != nil:
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind its JSON object")
	}
	return nil
}

// Complete fills what follows from other settings.
func (p *Profile) Complete() {
	if p.Region == "" {
		p.Region, _, _ = strings.Cut(p.UserPoolID, "_")
	}
	if p.Qualifier == "" {
		p.Qualifier = "DEFAULT"
	}
	if p.GatewayAuth == "" {
		p.GatewayAuth = "user"
	}
	if p.RuntimeURL == "" && p.Region != "" {
		if p.MCPEndpoint == "" { // of a deployment in AWS; another one has another
			p.MCPEndpoint = "https://aws-mcp.us-east-1.api.aws/mcp"
		}
		p.RuntimeURL = "https://bedrock-agentcore." + p.Region + ".amazonaws.com"
	}
	if p.CognitoEndpoint == "" && p.Region != "" {
		p.CognitoEndpoint = "https://cognito-idp." + p.Region + ".amazonaws.com"
	}
	if p.DiscoveryURL == "" && p.CognitoEndpoint != "" && p.UserPoolID != "" {
		p.DiscoveryURL = strings.TrimRight(p.CognitoEndpoint, "/") + "/" + p.UserPoolID + "/.well-known/openid-configuration"
	}
	p.RuntimeURL = strings.TrimRight(p.RuntimeURL, "/")
	p.CognitoEndpoint = strings.TrimRight(p.CognitoEndpoint, "/")
	p.HostedUI = strings.TrimRight(p.HostedUI, "/")
}

// ByAgent reports whether people call tools through the agent, because the Gateway takes its tokens alone.
func (p *Profile) ByAgent() bool { return p.GatewayAuth == "workload" }

// shapes are what the settings that are no URL must look like.
var shapes = map[string]struct {
	pattern *regexp.Regexp
	like    string
}{
	"region":       {regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`), "us-east-1"},
	"user_pool_id": {regexp.MustCompile(`^[\w-]+_[0-9A-Za-z]+$`), "us-east-1_AbCdEfGhI"},
	"client_id":    {regexp.MustCompile(`^[\w+]{1,128}$`), "26 letters and digits"},
	"runtime_arn":  {regexp.MustCompile(`^arn:aws[a-z-]*:bedrock-agentcore:[a-z0-9-]+:\d{12}:runtime/[A-Za-z0-9_-]+$`), "arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/name-AbCdEfGhIj"},
	"gateway_auth": {regexp.MustCompile(`^(user|workload)$`), "user or workload"},
	"qualifier":    {regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,47}$`), "DEFAULT"},
}

// bases are the settings whose URLs others begin with.
var bases = []string{"cognito_endpoint", "hosted_ui", "runtime_url"}

// Check returns every fault of the settings: those named by keys that are missing, by no keys the needed ones, and all
// that can't be right, because tokens travel to more addresses than a command is about.
func (p *Profile) Check(keys ...string) error {
	var faults []string
	for _, field := range Fields {
		value := *field.Value(p)
		if value != "" {
			if fault := field.fault(value); fault != "" {
				faults = append(faults, fault)
			}
		} else if slices.Contains(keys, field.Key) || len(keys) == 0 && field.Needed {
			faults = append(faults, field.Key+" is not set (--"+field.Flag+")")
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &centralops.Error{Code: centralops.Invalid, Usage: true, Message: strings.Join(faults, "; "),
		Hint: "centralops configure --from-stack <stack>, or centralops help settings"}
}

// fault says what is wrong with a value of the setting, or "".
func (f Field) fault(value string) string {
	if shape, ok := shapes[f.Key]; ok {
		if !shape.pattern.MatchString(value) {
			return fmt.Sprintf("%s %q does not look like %s", f.Key, value, shape.like)
		}
		return ""
	}
	if f.Key == "environment" {
		return ""
	}
	u, err := url.Parse(value)
	switch {
	case err == nil && u.User != nil: // it would be shown
		return f.Key + " must have no user name and no password in it"
	case err != nil || u.Hostname() == "":
		return fmt.Sprintf("%s %q is not a URL such as https://host/path", f.Key, value)
	case slices.Contains(bases, f.Key) && strings.ContainsAny(value, "?#"):
		return fmt.Sprintf("%s %q must end with its path, because paths are added to it", f.Key, value)
	case u.Scheme == "https":
		return ""
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return "" // the local platform
	default:
		return fmt.Sprintf("%s %q must begin with https://, because tokens travel there", f.Key, value)
	}
}

// isLoopback reports whether host is this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// FromOutputs returns the profile that a stack's outputs describe: the object that
// `pulumi stack output --json` prints. Missing exports are reported all at once.
func FromOutputs(stack string, raw []byte) (Profile, error) {
	var outputs map[string]any
	if err := json.Unmarshal(raw, &outputs); err != nil {
		return Profile{}, &centralops.Error{Op: "read stack outputs", Code: centralops.Invalid, Err: err,
			Message: "pulumi printed no JSON object: " + err.Error(), Hint: "pulumi stack output --json -s " + stack}
	}
	var p Profile
	var missing []string
	for _, field := range Fields {
		value, _ := outputs[field.Export].(string)
		*field.Value(&p) = value
		if value == "" && field.Needed {
			missing = append(missing, field.Export)
		}
	}
	if len(missing) > 0 {
		return Profile{}, &centralops.Error{Op: "read stack outputs", Code: centralops.NotFound,
			Message: fmt.Sprintf("stack %s does not export %s", stack, strings.Join(missing, ", ")), Hint: "pulumi up -s " + stack}
	}
	if p.Environment == "" {
		p.Environment = stack
	}
	// A stack's full name is <organization>/<project>/<stack>.
	p.Name = stack[strings.LastIndex(stack, "/")+1:]
	return p, nil
}

// writeFile replaces file as a whole, with mode 0600 in a folder of mode 0700, so that a reader
// sees the old or the new and nobody else sees either.
func writeFile(file string, content []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unusable("write", file, err)
	}
	temp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return unusable("write", file, err)
	}
	defer os.Remove(temp.Name()) // gone already if all went well
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Close()); err != nil {
		return unusable("write", file, err)
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return unusable("write", file, err)
	}
	return nil
}

// unusable is the error of a file of the folder that can't be read or written.
func unusable(op, file string, err error) error {
	cause := err
	if path, ok := errors.AsType[*fs.PathError](err); ok { // it may name a temporary file
		cause = path.Err
	} else if link, ok := errors.AsType[*os.LinkError](err); ok { // so does that
		cause = link.Err
	}
	return &centralops.Error{Op: op + " " + file, Code: centralops.Unavailable, Message: cause.Error(), Err: err,
		Hint: "CENTRALOPS_CONFIG_DIR=<folder that is yours>"}
}

// Package controlplane stands in for the control plane of Amazon Bedrock AgentCore: gateways, gateway targets, agent
// runtimes, their endpoints, OAuth2 credential providers and tags.
//
// It speaks the REST protocol of the service in JSON and keeps everything in memory, because the emulator behaves
// otherwise where it matters: it merges updates, never ends one, makes no DEFAULT endpoint, takes any name twice and has no
// credential providers. Here an update replaces every member, a status ends after a number of looks, names conflict, and a
// gateway with targets is not deleted.
//
// Errors are the service's: {"message":...} with the header X-Amzn-ErrorType.
// https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/Welcome.html
package controlplane

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/sigv4"
)

// Assumptions is what the front takes for granted about AgentCore.
var Assumptions = []assumed.Row{
	{ID: "agentcore-update-replaces", Where: "controlplane", Assume: "An update clears every optional member that it leaves out.",
		Source: "documented for exceptionLevel, inferred for the rest", Check: "update a gateway without its description, then get it"},
	{ID: "agentcore-gateway-delete-conflict", Where: "controlplane", Assume: "DeleteGateway answers ConflictException while targets exist.",
		Source: "the error is in the model, its cause is inferred", Check: "delete a gateway that has a target"},
	{ID: "agentcore-runtime-delete-endpoints", Where: "controlplane", Assume: "DeleteAgentRuntime answers ConflictException while named endpoints exist.",
		Source: "unknown", Check: "delete a runtime that has a named endpoint"},
	{ID: "agentcore-gateway-url-mcp", Where: "controlplane", Assume: "gatewayUrl ends in /mcp.", Source: "observed; documentation shows both", Check: "get a gateway"},
}

// Config says how the front behaves.
type Config struct {
	Account string // 12 digits
	Region  string // "" means us-east-1

	// Store holds who may call. nil takes any signature made for the Region and the service, as the emulator does, so that
	// a deployment with test credentials works.
	Store *issued.Store
	// Looks is how often a status is seen in between before it ends; 0 means 1.
	Looks int
	// Refuse is asked before every call; a Fault that it returns is answered. nil refuses nothing.
	Refuse func(method, path string) *Fault
	// Ends is asked whenever a status in between begins, such as CREATING, and returns the one that it ends with; "" or nil
	// means that it ends well. It must not call the server.
	Ends func(status string) string
	Now  func() time.Time // nil means time.Now
}

// Fault is an error as the service answers it.
type Fault struct {
	Status        int
	Code, Message string
}

func (f *Fault) Error() string { return f.Code + ": " + f.Message }

func invalid(format string, args ...any) *Fault {
	return &Fault{http.StatusBadRequest, "ValidationException", fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) *Fault {
	return &Fault{http.StatusConflict, "ConflictException", fmt.Sprintf(format, args...)}
}

func missing(kind, id string) *Fault {
	return &Fault{http.StatusNotFound, "ResourceNotFoundException", kind + " not found: " + id}
}

// members is a JSON object.
type members = map[string]any

// record is one resource. base is what the service made of it, desc what its owner said last.
type record struct {
	base, desc members
	status     string
	looks      int    // until status ends
	end        string // the status after that; "" means that the record goes
	children   map[string]*record
	tags       map[string]string
	version    int
	secret     any // of a credential provider: its configuration, which no Get answers
}

// Server is the front. Its methods may be called concurrently.
type Server struct {
	config Config
	mux    *http.ServeMux

	mu        sync.Mutex
	gateways  map[string]*record
	runtimes  map[string]*record
	providers map[string]*record
}

// New returns a front without resources.
func New(config Config) *Server {
	if config.Region == "" {
		config.Region = "us-east-1"
	}
	if config.Looks == 0 {
		config.Looks = 1
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Server{config: config, mux: http.NewServeMux(), gateways: map[string]*record{}, runtimes: map[string]*record{}, providers: map[string]*record{}}
	for pattern, handle := range map[string]func(*http.Request, members) (members, error){
		"POST /gateways/{$}":                                      s.createGateway,
		"GET /gateways/{$}":                                       s.listGateways,
		"GET /gateways/{gateway}/{$}":                             s.getGateway,
		"PUT /gateways/{gateway}/{$}":                             s.updateGateway,
		"DELETE /gateways/{gateway}/{$}":                          s.deleteGateway,
		"POST /gateways/{gateway}/targets/{$}":                    s.createTarget,
		"GET /gateways/{gateway}/targets/{$}":                     s.listTargets,
		"GET /gateways/{gateway}/targets/{target}/{$}":            s.getTarget,
		"PUT /gateways/{gateway}/targets/{target}/{$}":            s.updateTarget,
		"DELETE /gateways/{gateway}/targets/{target}/{$}":         s.deleteTarget,
		"PUT /runtimes/{$}":                                       s.createRuntime,
		"POST /runtimes/{$}":                                      s.listRuntimes,
		"GET /runtimes/{runtime}/{$}":                             s.getRuntime,
		"PUT /runtimes/{runtime}/{$}":                             s.updateRuntime,
		"DELETE /runtimes/{runtime}/{$}":                          s.deleteRuntime,
		"PUT /runtimes/{runtime}/runtime-endpoints/{$}":           s.createEndpoint,
		"POST /runtimes/{runtime}/runtime-endpoints/{$}":          s.listEndpoints,
		"GET /runtimes/{runtime}/runtime-endpoints/{name}/{$}":    s.getEndpoint,
		"PUT /runtimes/{runtime}/runtime-endpoints/{name}/{$}":    s.updateEndpoint,
		"DELETE /runtimes/{runtime}/runtime-endpoints/{name}/{$}": s.deleteEndpoint,
		"POST /identities/CreateOauth2CredentialProvider":         s.createProvider,
		"POST /identities/GetOauth2CredentialProvider":            s.getProvider,
		"POST /identities/UpdateOauth2CredentialProvider":         s.updateProvider,
		"POST /identities/DeleteOauth2CredentialProvider":         s.deleteProvider,
		"POST /identities/ListOauth2CredentialProviders":          s.listProviders,
		"GET /tags/{arn}":                                         s.listTags,
		"POST /tags/{arn}":                                        s.tag,
		"DELETE /tags/{arn}":                                      s.untag,
	} {
		s.mux.HandleFunc(pattern, s.serve(handle))
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Left counts the resources that are there: gateways, runtimes and providers.
func (s *Server) Left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gateways) + len(s.runtimes) + len(s.providers)
}

// Records is what is there, each resource as the service's Get operation answers it.
type Records struct {
	Gateways  []Parent            // with their targets
	Runtimes  []Parent            // with their endpoints
	Providers map[string]Provider // by name
}

// Parent is a resource with those under it.
type Parent struct {
	Resource json.RawMessage
	Children []json.RawMessage
}

// Provider is what the data plane takes from a credential provider; no Get operation answers the secret.
type Provider struct {
	Discovery struct {
		URL string `json:"discoveryUrl"`
	} `json:"oauthDiscovery"`
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
}

// Records returns what is there. It counts as no look.
func (s *Server) Records() (Records, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := Records{Providers: map[string]Provider{}}
	var err error
	if all.Gateways, err = parents(s.gateways); err != nil {
		return Records{}, err
	}
	if all.Runtimes, err = parents(s.runtimes); err != nil {
		return Records{}, err
	}
	for name, r := range s.providers {
		encoded, err := json.Marshal(r.secret)
		if err != nil {
			return Records{}, err
		}
		var configuration struct {
			Custom Provider `json:"customOauth2ProviderConfig"`
		}
		if err := json.Unmarshal(encoded, &configuration); err != nil {
			return Records{}, err
		}
		all.Providers[name] = configuration.Custom
	}
	return all, nil
}

func parents(records map[string]*record) ([]Parent, error) {
	var all []Parent
	for _, id := range slices.Sorted(maps.Keys(records)) {
		var p Parent
		var err error
		if p.Resource, err = json.Marshal(records[id].view()); err != nil {
			return nil, err
		}
		for _, child := range slices.Sorted(maps.Keys(records[id].children)) {
			encoded, err := json.Marshal(records[id].children[child].view())
			if err != nil {
				return nil, err
			}
			p.Children = append(p.Children, encoded)
		}
		all = append(all, p)
	}
	return all, nil
}

func (s *Server) serve(handle func(*http.Request, members) (members, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
		if err != nil {
			answer(w, 0, nil, invalid("the body could not be read: %v", err))
			return
		}
		if err := s.authenticate(r, body); err != nil {
			answer(w, 0, nil, err)
			return
		}
		if s.config.Refuse != nil {
			if fault := s.config.Refuse(r.Method, r.URL.Path); fault != nil {
				answer(w, 0, nil, fault)
				return
			}
		}
		in := members{}
		if len(body) > 0 {
			if err := json.Unmarshal(body, &in); err != nil {
				answer(w, 0, nil, &Fault{http.StatusBadRequest, "SerializationException", err.Error()})
				return
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err := handle(r, in)
		status := http.StatusOK
		if r.Method == http.MethodPut || r.Method == http.MethodDelete {
			status = http.StatusAccepted
		}
		answer(w, status, out, err)
	}
}

// authenticate checks the signature against the store; without one, only what it was made for.
func (s *Server) authenticate(r *http.Request, body []byte) error {
	if s.config.Store != nil {
		if _, err := sigv4.Verify(r, body, "bedrock-agentcore", s.config.Region, s.config.Store, s.config.Now()); err != nil {
			return err
		}
		return nil
	}
	if !strings.Contains(r.Header.Get("Authorization"), "/"+s.config.Region+"/bedrock-agentcore/aws4_request") {
		return &Fault{http.StatusForbidden, "MissingAuthenticationTokenException", "the request is not signed for bedrock-agentcore in " + s.config.Region}
	}
	return nil
}

func answer(w http.ResponseWriter, status int, out members, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch fault := err.(type) {
	case nil:
	case *Fault:
		w.Header().Set("X-Amzn-ErrorType", fault.Code)
		status, out = fault.Status, members{"message": fault.Message}
	case *sigv4.Error:
		w.Header().Set("X-Amzn-ErrorType", fault.Code)
		status, out = fault.HTTPStatus(), members{"message": fault.Message}
	default:
		w.Header().Set("X-Amzn-ErrorType", "InternalServerException")
		status, out = http.StatusInternalServerError, members{"message": err.Error()}
	}
	if out == nil {
		out = members{}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // the client has gone if this fails
}

// begin puts a record into a status that ends in another after the configured looks.
func (s *Server) begin(r *record, status, end string) {
	if s.config.Ends != nil {
		if other := s.config.Ends(status); other != "" {
			end = other
		}
	}
	r.status, r.end, r.looks = status, end, s.config.Looks
}

// look counts a look; it tells whether the record is still there.
func (r *record) look() bool {
	if r.looks > 0 {
		r.looks--
		return true
	}
	if r.status != r.end {
		if r.end == "" {
			return false
		}
		r.status = r.end
	}
	return true
}

// settled refuses a change while another one runs.
func settled(r *record, what string) error {
	if strings.HasSuffix(r.status, "ING") {
		return conflict("%s is %s", what, r.status)
	}
	return nil
}

// view is the record as Get answers it.
func (r *record) view() members {
	out := members{"status": r.status}
	maps.Copy(out, r.desc)
	maps.Copy(out, r.base)
	delete(out, "clientToken")
	delete(out, "tags")
	return out
}

// epoch is the time as credential providers have it: seconds, where all other resources have a date.
func (s *Server) epoch() float64 { return float64(s.config.Now().Unix()) }

func (s *Server) stamp() string { return s.config.Now().UTC().Format(time.RFC3339) }

// suffix is ten characters of the alphabet of ids.
func suffix() string { return strings.ToLower(rand.Text()[:10]) }

func (s *Server) arn(resource string) string {
	return "arn:aws:bedrock-agentcore:" + s.config.Region + ":" + s.config.Account + ":" + resource
}

func required(in members, names ...string) error {
	for _, name := range names {
		if in[name] == nil || in[name] == "" {
			return invalid("1 validation error detected: Value at '%s' failed to satisfy constraint: Member must not be null", name)
		}
	}
	return nil
}

func pattern(in members, name string, p *regexp.Regexp) error {
	if value, _ := in[name].(string); !p.MatchString(value) {
		return invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", value, name, p)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	gatewayNames  = regexp.MustCompile(`^([0-9a-zA-Z][-]?){1,100}$`)
	runtimeNames  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,47}$`)
	providerNames = regexp.MustCompile(`^[a-zA-Z0-9\-_]{1,128}$`)
)

func tagsOf(in members) map[string]string {
	tags := map[string]string{}
	given, _ := in["tags"].(map[string]any)
	for key, value := range given {
		tags[key] = fmt.Sprint(value)
	}
	return tags
}

func named(records map[string]*record, member string, name any) bool {
	for _, r := range records {
		if r.desc[member] == name {
			return true
		}
	}
	return false
}

// find returns a record that is still there, counting a look when it is a Get.
func find(records map[string]*record, kind, id string, look bool) (*record, error) {
	r, ok := records[id]
	if ok && look && !r.look() {
		delete(records, id)
		ok = false
	}
	if !ok {
		return nil, missing(kind, id)
	}
	return r, nil
}

func list(records map[string]*record, pick ...string) []any {
	items := []any{}
	for _, id := range slices.Sorted(maps.Keys(records)) {
		view, item := records[id].view(), members{}
		for _, name := range append(pick, "name", "status", "description", "createdAt", "updatedAt", "lastUpdatedAt") {
			if value, ok := view[name]; ok {
				item[name] = value
			}
		}
		items = append(items, item)
	}
	return items
}

func (s *Server) checkGateway(in members) error {
	if err := firstError(required(in, "name", "roleArn", "authorizerType"), pattern(in, "name", gatewayNames)); err != nil {
		return err
	}
	if in["authorizerType"] == "CUSTOM_JWT" {
		return firstError(checkAuthorizer(in), checkInterceptors(in))
	}
	return checkInterceptors(in)
}

// checkAuthorizer refuses what the service refuses of a JWT authorizer: no discovery document, or nothing to check.
func checkAuthorizer(in members) error {
	configuration, _ := in["authorizerConfiguration"].(map[string]any)
	jwt, _ := configuration["customJWTAuthorizer"].(map[string]any)
	if jwt == nil {
		return invalid("authorizerConfiguration.customJWTAuthorizer is required")
	}
	if discovery, _ := jwt["discoveryUrl"].(string); !strings.HasSuffix(discovery, "/.well-known/openid-configuration") {
		return invalid("discoveryUrl must end in /.well-known/openid-configuration")
	}
	for _, member := range []string{"allowedAudience", "allowedClients", "allowedScopes", "customClaims"} {
		if values, _ := jwt[member].([]any); len(values) > 0 {
			return nil
		}
	}
	return invalid("at least one of allowedAudience, allowedClients, allowedScopes and customClaims is required")
}

func (s *Server) createGateway(_ *http.Request, in members) (members, error) {
	if err := s.checkGateway(in); err != nil {
		return nil, err
	}
	if named(s.gateways, "name", in["name"]) {
		return nil, conflict("Gateway with name %v already exists", in["name"])
	}
	id := strings.ToLower(in["name"].(string)) + "-" + suffix()
	r := &record{desc: in, tags: tagsOf(in), children: map[string]*record{}, base: members{
		"gatewayId": id, "gatewayArn": s.arn("gateway/" + id), "createdAt": s.stamp(), "updatedAt": s.stamp(),
		"gatewayUrl": "https://" + id + ".gateway.bedrock-agentcore." + s.config.Region + ".amazonaws.com/mcp",
	}}
	s.begin(r, "CREATING", "READY")
	s.gateways[id] = r
	return r.view(), nil
}

func (s *Server) listGateways(*http.Request, members) (members, error) {
	return members{"items": list(s.gateways, "gatewayId", "authorizerType", "protocolType")}, nil
}

func (s *Server) getGateway(q *http.Request, _ members) (members, error) {
	r, err := find(s.gateways, "Gateway", q.PathValue("gateway"), true)
	if err != nil {
		return nil, err
	}
	return r.view(), nil
}

func (s *Server) updateGateway(q *http.Request, in members) (members, error) {
	r, err := find(s.gateways, "Gateway", q.PathValue("gateway"), false)
	if err := firstError(err, s.checkGateway(in)); err != nil {
		return nil, err
	}
	if err := settled(r, "gateway"); err != nil {
		return nil, err
	}
	if in["name"] != r.desc["name"] {
		return nil, invalid("the name of a gateway cannot change")
	}
	r.desc, r.base["updatedAt"] = in, s.stamp()
	s.begin(r, "UPDATING", "READY")
	return r.view(), nil
}

func (s *Server) deleteGateway(q *http.Request, _ members) (members, error) {
	r, err := find(s.gateways, "Gateway", q.PathValue("gateway"), false)
	if err != nil {
		return nil, err
	}
	if len(r.children) > 0 {
		return nil, conflict("Gateway %v has targets; delete them first", r.base["gatewayId"])
	}
	s.begin(r, "DELETING", "")
	return members{"gatewayId": r.base["gatewayId"], "status": r.status}, nil
}

func (s *Server) target(q *http.Request, look bool) (*record, *record, error) {
	gateway, err := find(s.gateways, "Gateway", q.PathValue("gateway"), false)
	if err != nil || q.PathValue("target") == "" {
		return gateway, nil, err
	}
	r, err := find(gateway.children, "Target", q.PathValue("target"), look)
	return gateway, r, err
}

func checkTarget(in members) error {
	if err := firstError(required(in, "name", "targetConfiguration"), pattern(in, "name", gatewayNames)); err != nil {
		return err
	}
	credentials, _ := in["credentialProviderConfigurations"].([]any)
	if len(credentials) != 1 {
		return invalid("credentialProviderConfigurations must have exactly one member")
	}
	return firstError(checkLambda(in), checkPropagation(in))
}

func (s *Server) createTarget(q *http.Request, in members) (members, error) {
	gateway, _, err := s.target(q, false)
	if err := firstError(err, checkTarget(in)); err != nil {
		return nil, err
	}
	if err := settled(gateway, "gateway"); err != nil {
		return nil, err
	}
	if named(gateway.children, "name", in["name"]) {
		return nil, conflict("Target with name %v already exists", in["name"])
	}
	id := strings.ToUpper(suffix())
	r := &record{desc: in, base: members{"targetId": id, "gatewayArn": gateway.base["gatewayArn"], "createdAt": s.stamp(), "updatedAt": s.stamp()}}
	s.begin(r, "CREATING", "READY")
	gateway.children[id] = r
	return r.view(), nil
}

func (s *Server) listTargets(q *http.Request, _ members) (members, error) {
	gateway, _, err := s.target(q, false)
	if err != nil {
		return nil, err
	}
	return members{"items": list(gateway.children, "targetId")}, nil
}

func (s *Server) getTarget(q *http.Request, _ members) (members, error) {
	_, r, err := s.target(q, true)
	if err != nil {
		return nil, err
	}
	return r.view(), nil
}

func (s *Server) updateTarget(q *http.Request, in members) (members, error) {
	_, r, err := s.target(q, false)
	if err := firstError(err, checkTarget(in)); err != nil {
		return nil, err
	}
	if err := settled(r, "target"); err != nil {
		return nil, err
	}
	r.desc, r.base["updatedAt"] = in, s.stamp()
	s.begin(r, "UPDATING", "READY")
	return r.view(), nil
}

func (s *Server) deleteTarget(q *http.Request, _ members) (members, error) {
	_, r, err := s.target(q, false)
	if err != nil {
		return nil, err
	}
	s.begin(r, "DELETING", "")
	return members{"targetId": r.base["targetId"], "status": r.status}, nil
}

func checkRuntime(in members, needed ...string) error {
	if err := required(in, append(needed, "agentRuntimeArtifact", "roleArn", "networkConfiguration")...); err != nil {
		return err
	}
	if in["authorizerConfiguration"] != nil {
		return firstError(checkAuthorizer(in), checkLimits(in))
	}
	return checkLimits(in)
}

func (s *Server) createRuntime(_ *http.Request, in members) (members, error) {
	if err := firstError(checkRuntime(in, "agentRuntimeName"), pattern(in, "agentRuntimeName", runtimeNames)); err != nil {
		return nil, err
	}
	if in["metadataConfiguration"] != nil {
		return nil, invalid("metadataConfiguration is a member of UpdateAgentRuntime only")
	}
	if named(s.runtimes, "agentRuntimeName", in["agentRuntimeName"]) {
		return nil, conflict("An agent with the specified name already exists: %v", in["agentRuntimeName"])
	}
	id := in["agentRuntimeName"].(string) + "-" + suffix()
	r := &record{desc: in, tags: tagsOf(in), children: map[string]*record{}, version: 1, base: members{
		"agentRuntimeId": id, "agentRuntimeArn": s.arn("runtime/" + id), "agentRuntimeName": in["agentRuntimeName"],
		"agentRuntimeVersion": "1", "createdAt": s.stamp(), "lastUpdatedAt": s.stamp(),
	}}
	s.begin(r, "CREATING", "READY")
	s.runtimes[id] = r
	s.endpoint(r, id, "DEFAULT", members{"agentRuntimeVersion": "1"})
	return r.view(), nil
}

func (s *Server) listRuntimes(*http.Request, members) (members, error) {
	return members{"agentRuntimes": list(s.runtimes, "agentRuntimeId", "agentRuntimeArn", "agentRuntimeName", "agentRuntimeVersion")}, nil
}

func (s *Server) getRuntime(q *http.Request, _ members) (members, error) {
	r, err := find(s.runtimes, "AgentRuntime", q.PathValue("runtime"), true)
	if err != nil {
		return nil, err
	}
	return r.view(), nil
}

func (s *Server) updateRuntime(q *http.Request, in members) (members, error) {
	r, err := find(s.runtimes, "AgentRuntime", q.PathValue("runtime"), false)
	if err := firstError(err, checkRuntime(in)); err != nil {
		return nil, err
	}
	if err := settled(r, "agent runtime"); err != nil {
		return nil, err
	}
	in["agentRuntimeName"] = r.base["agentRuntimeName"]
	r.version++
	r.desc, r.base["lastUpdatedAt"], r.base["agentRuntimeVersion"] = in, s.stamp(), strconv.Itoa(r.version)
	s.begin(r, "UPDATING", "READY")
	fallback := r.children["DEFAULT"]
	fallback.base["liveVersion"], fallback.base["targetVersion"] = strconv.Itoa(r.version), strconv.Itoa(r.version)
	return r.view(), nil
}

func (s *Server) deleteRuntime(q *http.Request, _ members) (members, error) {
	r, err := find(s.runtimes, "AgentRuntime", q.PathValue("runtime"), false)
	if err != nil {
		return nil, err
	}
	if len(r.children) > 1 {
		return nil, conflict("AgentRuntime %v has endpoints; delete them first", r.base["agentRuntimeId"])
	}
	s.begin(r, "DELETING", "")
	return members{"agentRuntimeId": r.base["agentRuntimeId"], "status": r.status}, nil
}

func (s *Server) endpoint(runtime *record, id, name string, in members) *record {
	version := in["agentRuntimeVersion"]
	if version == nil {
		version = strconv.Itoa(runtime.version)
	}
	r := &record{desc: members{"description": in["description"]}, tags: tagsOf(in), base: members{
		"id": name, "name": name, "agentRuntimeArn": runtime.base["agentRuntimeArn"], "liveVersion": version, "targetVersion": version,
		"agentRuntimeEndpointArn": s.arn("runtime/" + id + "/runtime-endpoint/" + name), "createdAt": s.stamp(), "lastUpdatedAt": s.stamp(),
	}}
	s.begin(r, "CREATING", "READY")
	runtime.children[name] = r
	return r
}

func (s *Server) endpointOf(q *http.Request, look bool) (*record, *record, error) {
	runtime, err := find(s.runtimes, "AgentRuntime", q.PathValue("runtime"), false)
	if err != nil || q.PathValue("name") == "" {
		return runtime, nil, err
	}
	r, err := find(runtime.children, "AgentRuntimeEndpoint", q.PathValue("name"), look)
	return runtime, r, err
}

// checkVersion refuses a version that the runtime does not have.
func checkVersion(runtime *record, in members) error {
	version, given := in["agentRuntimeVersion"].(string)
	if n, err := strconv.Atoi(version); given && (err != nil || n < 1 || n > runtime.version) {
		return missing("AgentRuntimeVersion", version)
	}
	return nil
}

func (s *Server) createEndpoint(q *http.Request, in members) (members, error) {
	runtime, _, err := s.endpointOf(q, false)
	if err := firstError(err, required(in, "name"), pattern(in, "name", runtimeNames)); err != nil {
		return nil, err
	}
	if err := firstError(settled(runtime, "agent runtime"), checkVersion(runtime, in)); err != nil {
		return nil, err
	}
	name := in["name"].(string)
	if runtime.children[name] != nil {
		return nil, conflict("Endpoint %s already exists", name)
	}
	r := s.endpoint(runtime, q.PathValue("runtime"), name, in)
	out := r.view()
	out["endpointName"], out["agentRuntimeId"] = name, q.PathValue("runtime")
	return out, nil
}

func (s *Server) listEndpoints(q *http.Request, _ members) (members, error) {
	runtime, _, err := s.endpointOf(q, false)
	if err != nil {
		return nil, err
	}
	return members{"runtimeEndpoints": list(runtime.children, "id", "agentRuntimeArn", "agentRuntimeEndpointArn", "liveVersion", "targetVersion")}, nil
}

func (s *Server) getEndpoint(q *http.Request, _ members) (members, error) {
	_, r, err := s.endpointOf(q, true)
	if err != nil {
		return nil, err
	}
	return r.view(), nil
}

func (s *Server) updateEndpoint(q *http.Request, in members) (members, error) {
	runtime, r, err := s.endpointOf(q, false)
	if err != nil {
		return nil, err
	}
	if err := firstError(settled(r, "endpoint"), checkVersion(runtime, in)); err != nil {
		return nil, err
	}
	if version := in["agentRuntimeVersion"]; version != nil {
		r.base["liveVersion"], r.base["targetVersion"] = version, version
	}
	r.desc = members{"description": in["description"]}
	s.begin(r, "UPDATING", "READY")
	return r.view(), nil
}

func (s *Server) deleteEndpoint(q *http.Request, _ members) (members, error) {
	_, r, err := s.endpointOf(q, false)
	if err != nil {
		return nil, err
	}
	if q.PathValue("name") == "DEFAULT" {
		return nil, conflict("the DEFAULT endpoint goes with its runtime")
	}
	s.begin(r, "DELETING", "")
	return members{"status": r.status}, nil
}

func (s *Server) createProvider(_ *http.Request, in members) (members, error) {
	if err := firstError(required(in, "name", "credentialProviderVendor", "oauth2ProviderConfigInput"), pattern(in, "name", providerNames)); err != nil {
		return nil, err
	}
	name := in["name"].(string)
	if s.providers[name] != nil {
		return nil, conflict("Credential provider %s already exists", name)
	}
	r := &record{tags: tagsOf(in), status: "READY", end: "READY", secret: in["oauth2ProviderConfigInput"], base: members{
		"name": name, "credentialProviderArn": s.arn("token-vault/default/oauth2credentialprovider/" + name), "createdTime": s.epoch(), "lastUpdatedTime": s.epoch(),
		"credentialProviderVendor": in["credentialProviderVendor"],
		"clientSecretArn":          members{"secretArn": "arn:aws:secretsmanager:" + s.config.Region + ":" + s.config.Account + ":secret:bedrock-agentcore-identity!default/oauth2/" + name + "-" + suffix()[:6]},
	}}
	s.providers[name] = r
	return r.view(), nil
}

func (s *Server) provider(in members) (*record, error) {
	name, _ := in["name"].(string)
	return find(s.providers, "Credential provider", name, false)
}

func (s *Server) getProvider(_ *http.Request, in members) (members, error) {
	r, err := s.provider(in)
	if err != nil {
		return nil, err
	}
	return r.view(), nil
}

func (s *Server) updateProvider(_ *http.Request, in members) (members, error) {
	r, err := s.provider(in)
	if err := firstError(err, required(in, "credentialProviderVendor", "oauth2ProviderConfigInput")); err != nil {
		return nil, err
	}
	r.base["lastUpdatedTime"], r.secret = s.epoch(), in["oauth2ProviderConfigInput"]
	return r.view(), nil
}

func (s *Server) deleteProvider(_ *http.Request, in members) (members, error) {
	r, err := s.provider(in)
	if err != nil {
		return nil, err
	}
	delete(s.providers, r.base["name"].(string))
	return nil, nil
}

func (s *Server) listProviders(*http.Request, members) (members, error) {
	return members{"credentialProviders": list(s.providers, "credentialProviderArn", "credentialProviderVendor", "createdTime", "lastUpdatedTime")}, nil
}

func (s *Server) byARN(arn string) (*record, error) {
	all := []map[string]*record{s.gateways, s.runtimes, s.providers}
	for _, r := range s.runtimes {
		all = append(all, r.children)
	}
	for _, records := range all {
		for _, r := range records {
			for _, member := range []string{"gatewayArn", "agentRuntimeEndpointArn", "credentialProviderArn"} {
				if r.base[member] == arn {
					return r, nil
				}
			}
			if r.base["agentRuntimeArn"] == arn && r.base["agentRuntimeId"] != nil {
				return r, nil
			}
		}
	}
	return nil, missing("Resource", arn)
}

func (s *Server) listTags(q *http.Request, _ members) (members, error) {
	r, err := s.byARN(q.PathValue("arn"))
	if err != nil {
		return nil, err
	}
	return members{"tags": r.tags}, nil
}

func (s *Server) tag(q *http.Request, in members) (members, error) {
	r, err := s.byARN(q.PathValue("arn"))
	if err != nil {
		return nil, err
	}
	maps.Copy(r.tags, tagsOf(in))
	return nil, nil
}

func (s *Server) untag(q *http.Request, _ members) (members, error) {
	r, err := s.byARN(q.PathValue("arn"))
	if err != nil {
		return nil, err
	}
	for _, key := range q.URL.Query()["tagKeys"] {
		delete(r.tags, key)
	}
	return nil, nil
}

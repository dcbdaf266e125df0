package awsmcp

// tool is an entry of tools/list.
type tool struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	InputSchema map[string]any `json:"inputSchema"`
	Annotations annotations    `json:"annotations"`
}

type annotations struct {
	ReadOnlyHint    bool  `json:"readOnlyHint"`
	DestructiveHint *bool `json:"destructiveHint,omitempty"`
	OpenWorldHint   bool  `json:"openWorldHint"`
}

// withoutCredentials are the tools that may be called unsigned.
var withoutCredentials = []string{
	"aws___search_documentation", "aws___read_documentation", "aws___retrieve_skill",
	"aws___list_regions", "aws___get_regional_availability",
}

// tools are the eight tools of September 2026 with the annotations that were seen then.
// https://github.com/mohitk-patwari/secondbreath (evidence/mcp-connection-verified.txt)
var tools = []tool{
	{
		Name:        "aws___run_script",
		Description: "Runs Python in a sandbox. call_boto3(*, service_name, operation_name, region_name=None, params=None) calls an AWS API; operation_name is in PascalCase. The value of the last expression is returned.",
		InputSchema: object([]string{"code"}, map[string]any{"code": text}),
		Annotations: annotations{DestructiveHint: new(true)},
	},
	{
		Name:        "aws___get_presigned_url",
		Description: "Makes presigned S3 URLs for upload and download.",
		InputSchema: object([]string{"requests"}, map[string]any{"requests": map[string]any{"type": "array", "minItems": 1, "maxItems": 25, "items": map[string]any{"type": "object"}}}),
		Annotations: annotations{DestructiveHint: new(false)},
	},
	{
		Name:        "aws___get_tasks",
		Description: "Tells how far long scripts are.",
		InputSchema: object([]string{"task_ids"}, map[string]any{"task_ids": map[string]any{"type": "array", "minItems": 1, "maxItems": 3, "items": text}, "poll_iteration": number}),
		Annotations: annotations{ReadOnlyHint: true},
	},
	{
		Name:        "aws___search_documentation",
		Description: "Searches AWS documentation.",
		InputSchema: object([]string{"search_phrase"}, map[string]any{"search_phrase": text, "topics": texts, "limit": number}),
		Annotations: annotations{ReadOnlyHint: true},
	},
	{
		Name:        "aws___read_documentation",
		Description: "Reads pages of AWS documentation.",
		InputSchema: object([]string{"requests"}, map[string]any{"requests": map[string]any{"type": "array", "minItems": 1, "items": object([]string{"url"}, map[string]any{"url": text, "max_length": number, "start_index": number})}}),
		Annotations: annotations{ReadOnlyHint: true},
	},
	{
		Name:        "aws___retrieve_skill",
		Description: "Reads a skill or one of its files.",
		InputSchema: object([]string{"skill_name"}, map[string]any{"skill_name": text, "file": text}),
		Annotations: annotations{ReadOnlyHint: true},
	},
	{
		Name:        "aws___list_regions",
		Description: "Lists AWS Regions.",
		InputSchema: object(nil, map[string]any{}),
		Annotations: annotations{ReadOnlyHint: true},
	},
	{
		Name:        "aws___get_regional_availability",
		Description: "Tells where products, APIs or CloudFormation resources are available.",
		InputSchema: object([]string{"regions", "resource_type"}, map[string]any{"regions": texts, "resource_type": map[string]any{"type": "string", "enum": []string{"product", "api", "cfn"}}, "filters": texts, "next_token": text}),
		Annotations: annotations{ReadOnlyHint: true},
	},
}

var (
	text   = map[string]any{"type": "string"}
	number = map[string]any{"type": "integer"}
	texts  = map[string]any{"type": "array", "items": text}
)

func object(required []string, properties map[string]any) map[string]any {
	schema := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

// Package agentcore makes the resources of Amazon Bedrock AgentCore what a specification says they are.
//
// Apply finds the resource by its name, creates it or reads it, puts the specified members over what it read and writes
// the whole back: updates of the service replace everything, so that a member which is left out is cleared. Then it waits
// until the resource is ready. Delete waits until it is gone; a resource that does not exist is deleted already. Both may
// be repeated after any failure, also after a create whose answer got lost.
//
// Errors of the service fall in three classes. Retried until the context ends: ConflictException while another operation
// runs, and the ValidationException that says that a new role may not yet do what its policy allows. Retried by the SDK:
// throttling and server errors. All others end the operation.
//
// The flows are tested by the true program against the control plane's stand-in, in e2e/local/controlplane.
package agentcore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	control "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/smithy-go"
)

// Code says what kind of failure an Error is.
type Code string

const (
	Invalid  Code = "invalid"   // the specification is wrong
	Failed   Code = "failed"    // the service refused, or the resource ended in a failed status
	NotReady Code = "not_ready" // the context ended before the resource was ready, or gone
)

// Error is a failure as an operator reads it.
type Error struct {
	Op      string // "apply gateway"
	Subject string // the resource's name
	Code    Code
	Err     error
	Hint    string // the next step; "" if unknown
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s: %v", e.Op, e.Subject, e.Code, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Client speaks to the control plane of one Region.
type Client struct {
	api      *control.Client
	secret   func(ctx context.Context, userPoolID, clientID string) (string, error)
	log      io.Writer
	interval time.Duration
}

// New returns a client. secret reads the secret of a Cognito app client, so that it is in no specification; log gets a
// line for each step; interval is the pause between two looks at a status.
func New(api *control.Client, secret func(ctx context.Context, userPoolID, clientID string) (string, error), log io.Writer, interval time.Duration) *Client {
	return &Client{api: api, secret: secret, log: log, interval: interval}
}

// Resource is one kind of resource.
type Resource struct {
	Apply  func(ctx context.Context, c *Client, spec []byte) (any, error)
	Delete func(ctx context.Context, c *Client, spec []byte) (any, error)
}

// Resources is every kind, by its name on the command line.
func Resources() map[string]Resource {
	return map[string]Resource{
		"gateway":  kind[Gateway]("gateway", (*Client).applyGateway, (*Client).deleteGateway),
		"target":   kind[Target]("target", (*Client).applyTarget, (*Client).deleteTarget),
		"runtime":  kind[Runtime]("runtime", (*Client).applyRuntime, (*Client).deleteRuntime),
		"endpoint": kind[Endpoint]("endpoint", (*Client).applyEndpoint, (*Client).deleteEndpoint),
		"provider": kind[Provider]("provider", (*Client).applyProvider, (*Client).deleteProvider),
	}
}

// spec is what every specification can say about itself.
type spec interface {
	subject() string
	check() error // all faults, joined
}

// Deleted is the answer of every delete.
type Deleted struct {
	Deleted bool   `json:"deleted"`
	Name    string `json:"name"`
}

func kind[S spec, R any](name string, apply func(*Client, context.Context, S) (R, error), remove func(*Client, context.Context, S) error) Resource {
	read := func(verb string, text []byte) (S, error) {
		var s S
		if err := Decode(text, &s); err != nil {
			return s, &Error{Op: verb + " " + name, Subject: "specification", Code: Invalid, Err: err}
		}
		if err := s.check(); err != nil {
			return s, &Error{Op: verb + " " + name, Subject: s.subject(), Code: Invalid, Err: err}
		}
		return s, nil
	}
	return Resource{
		Apply: func(ctx context.Context, c *Client, text []byte) (any, error) {
			s, err := read("apply", text)
			if err != nil {
				return nil, err
			}
			answer, err := apply(c, ctx, s)
			if err != nil {
				return nil, outcome(ctx, "apply "+name, s.subject(), err)
			}
			return answer, nil
		},
		Delete: func(ctx context.Context, c *Client, text []byte) (any, error) {
			s, err := read("delete", text)
			if err != nil {
				return nil, err
			}
			if err := remove(c, ctx, s); err != nil {
				return nil, outcome(ctx, "delete "+name, s.subject(), err)
			}
			return Deleted{Deleted: true, Name: s.subject()}, nil
		},
	}
}

func outcome(ctx context.Context, op, subject string, err error) error {
	e := &Error{Op: op, Subject: subject, Code: Failed, Err: err}
	if ctx.Err() != nil {
		e.Code, e.Hint = NotReady, "run it again: it goes on from here; -wait gives it more time"
	}
	if is(err, "AccessDeniedException") {
		e.Hint = "the deployer's permissions are in docs/deployer-policy.json"
	}
	return e
}

// Decode reads one JSON object strictly: unknown members are refused by name.
func Decode(text []byte, into any) error {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read specification: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read specification: more than one JSON value")
	}
	return nil
}

func is(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

func notFound(err error) bool { return is(err, "ResourceNotFoundException") }

// propagating tells the refusal of a role that IAM has not yet spread from any other ValidationException. The service has
// no code for it; the texts are "Gateway execution role lacks permission to invoke Lambda function" and
// "... cannot be assumed by ... / Role validation failed".
// https://github.com/aws-solutions/generative-ai-application-builder-on-aws/issues/238
func propagating(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "ValidationException" {
		return false
	}
	text := strings.ToLower(api.ErrorMessage())
	for _, sign := range []string{"lacks permission", "cannot be assumed", "role validation failed", "unable to assume", "access denied while"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// retry runs call until it succeeds, fails for good, or ctx ends; then the last failure is returned. What it waits for is
// logged once.
func (c *Client) retry(ctx context.Context, what string, call func() error) error {
	var last error
	for pause := c.interval; ; pause = min(2*pause, 10*c.interval) {
		err := call()
		if err != nil && last != nil && ctx.Err() != nil {
			return last // and not that ctx ended: this is what it was about
		}
		if err == nil || !is(err, "ConflictException") && !propagating(err) {
			return err
		}
		if last == nil || last.Error() != err.Error() {
			fmt.Fprintf(c.log, "%s: %v; trying again\n", what, err)
		}
		last = err
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}

// kept is how one resource is found, made, looked at and deleted.
type kept struct {
	what   string                                                       // as the log names it
	dead   string                                                       // the status of a create that failed: no update helps
	find   func() (id string, err error)                                // "" if there is none, or one that is being deleted
	create func() (id string, err error)                                // as the service answers, without waiting
	look   func(id string) (status string, reasons []string, err error) // its status now
	remove func(id string) error                                        // as the service answers, without waiting
}

// ensure returns the id of a resource that is there and at rest. What exists under the name is taken, also when it was made
// by an earlier create whose answer got lost; a create that failed is deleted and made anew.
func (c *Client) ensure(ctx context.Context, k kept) (string, error) {
	id, err := k.find()
	if err != nil {
		return "", err
	}
	if id != "" {
		status, _, err := k.look(id)
		switch {
		case err != nil:
			return "", err
		case status == k.dead:
			if err := c.remove(ctx, k, id); err != nil {
				return "", err
			}
		case settling(status):
			return id, c.await(ctx, k, id)
		default:
			return id, nil
		}
	}
	err = c.retry(ctx, k.what, func() error {
		made, err := k.create()
		if is(err, "ConflictException") {
			if found, lookup := k.find(); lookup == nil && found != "" {
				made, err = found, nil
			}
		}
		id = made
		return err
	})
	if err != nil {
		return "", err
	}
	return id, c.await(ctx, k, id)
}

// change updates a resource and waits until it is ready.
func (c *Client) change(ctx context.Context, k kept, id string, update func() error) error {
	if err := c.retry(ctx, k.what, update); err != nil {
		return err
	}
	return c.await(ctx, k, id)
}

// destroy deletes the resource of that name, if there is one.
func (c *Client) destroy(ctx context.Context, k kept) error {
	id, err := k.find()
	if notFound(err) || err == nil && id == "" {
		return nil // the first when what it belongs to has gone
	}
	if err != nil {
		return err
	}
	return c.remove(ctx, k, id)
}

// remove deletes a resource and looks until it is not found. A delete that failed ends the wait with its reasons.
func (c *Client) remove(ctx context.Context, k kept, id string) error {
	err := c.retry(ctx, k.what, func() error { return k.remove(id) })
	for err == nil {
		var status string
		var reasons []string
		if status, reasons, err = k.look(id); err != nil {
			break
		}
		if status == "DELETE_FAILED" || status == "DELETE_UNSUCCESSFUL" {
			return ended(k.what, status, reasons)
		}
		if err := sleep(ctx, c.interval); err != nil {
			return fmt.Errorf("%s is still %s: %w", k.what, status, err)
		}
	}
	if notFound(err) {
		fmt.Fprintf(c.log, "%s: deleted\n", k.what)
		return nil
	}
	return err
}

// await looks at a status until it is ready, has failed, or ctx ends.
func (c *Client) await(ctx context.Context, k kept, id string) error {
	last := ""
	for {
		status, reasons, err := k.look(id)
		if err != nil {
			if ctx.Err() != nil && last != "" {
				return fmt.Errorf("%s is still %s: %w", k.what, last, ctx.Err())
			}
			return err
		}
		if status != last {
			fmt.Fprintf(c.log, "%s: %s\n", k.what, status)
			last = status
		}
		switch {
		case status == "READY":
			return nil
		case failed(status):
			return ended(k.what, status, reasons)
		}
		if err := sleep(ctx, c.interval); err != nil {
			return fmt.Errorf("%s is still %s: %w", k.what, status, err)
		}
	}
}

// ended is the error of a resource that came to rest in a bad status.
func ended(what, status string, reasons []string) error {
	if len(reasons) == 0 {
		reasons = []string{"the service gives no reason"}
	}
	return fmt.Errorf("%s is %s: %s", what, status, strings.Join(reasons, "; "))
}

func failed(status string) bool {
	return strings.HasSuffix(status, "FAILED") || strings.HasSuffix(status, "UNSUCCESSFUL") || strings.HasSuffix(status, "_PENDING_AUTH")
}

// settling is a status that ends by itself.
func settling(status string) bool {
	return status == "CREATING" || status == "UPDATING" || status == "SYNCHRONIZING"
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// carry puts every member that was read into an update of it: each that both have under one name and type, also those that
// a later version of the SDK adds. An update clears what it leaves out.
func carry(update, read any) {
	to, from := reflect.ValueOf(update).Elem(), reflect.ValueOf(read).Elem()
	for i := range to.NumField() {
		field := to.Type().Field(i)
		if value := from.FieldByName(field.Name); field.IsExported() && value.IsValid() && value.Type() == field.Type {
			to.Field(i).Set(value)
		}
	}
}

// same tells whether an update would change nothing. For a runtime that saves a version.
func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// tag makes the resource's tags exactly want, those of AWS's own aside.
func (c *Client) tag(ctx context.Context, arn string, want map[string]string) error {
	have, err := c.api.ListTagsForResource(ctx, &control.ListTagsForResourceInput{ResourceArn: &arn})
	if err != nil {
		return err
	}
	var extra []string
	for key := range have.Tags {
		if _, wanted := want[key]; !wanted && !strings.HasPrefix(key, "aws:") {
			extra = append(extra, key)
		}
	}
	if len(extra) > 0 {
		if _, err := c.api.UntagResource(ctx, &control.UntagResourceInput{ResourceArn: &arn, TagKeys: extra}); err != nil {
			return err
		}
	}
	changed := map[string]string{}
	for key, value := range want {
		if have.Tags[key] != value {
			changed[key] = value
		}
	}
	if len(changed) == 0 {
		return nil
	}
	_, err = c.api.TagResource(ctx, &control.TagResourceInput{ResourceArn: &arn, Tags: changed})
	return err
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}

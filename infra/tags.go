package main

import (
	"reflect"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// everywhere puts the tags on every AWS resource that takes some, and the permissions boundary, if there is one, on every
// role.
func everywhere(ctx *pulumi.Context, tags map[string]string, boundary string) error {
	return ctx.RegisterStackTransformation(func(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
		changed := set(args.Props, "Tags", pulumi.ToStringMap(tags))
		if boundary != "" {
			changed = set(args.Props, "PermissionsBoundary", pulumi.String(boundary)) || changed
		}
		if !changed {
			return nil
		}
		return &pulumi.ResourceTransformationResult{Props: args.Props, Opts: args.Opts}
	})
}

// set sets a field of a resource's arguments, and tells whether there is one. The SDK has no interface for it.
func set(props pulumi.Input, name string, input pulumi.Input) bool {
	v := reflect.ValueOf(props)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return false
	}
	field, value := v.Elem().FieldByName(name), reflect.ValueOf(input)
	if !field.IsValid() || !field.CanSet() || !value.Type().AssignableTo(field.Type()) {
		return false
	}
	field.Set(value)
	return true
}

package main

import (
	"reflect"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// tagged sets the field Tags of a resource's arguments, and tells whether there is one. The SDK has no interface for it.
func tagged(props pulumi.Input, tags map[string]string) bool {
	v := reflect.ValueOf(props)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return false
	}
	field := v.Elem().FieldByName("Tags")
	value := reflect.ValueOf(pulumi.ToStringMap(tags))
	if !field.IsValid() || !field.CanSet() || !value.Type().AssignableTo(field.Type()) {
		return false
	}
	field.Set(value)
	return true
}

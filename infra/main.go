// The Pulumi program of Central Ops: each stack of the root project is one environment.
package main

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

func main() { pulumi.Run(program) }

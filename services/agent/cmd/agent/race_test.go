//go:build race

package main

// raced says that the tests run with the race detector. The binary is then built with it too: the races to find are its own.
const raced = true

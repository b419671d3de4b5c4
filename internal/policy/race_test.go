//go:build race

package policy

// slow is how many times longer the tests with time limits may take.
const slow = 10

package bench

// Sections lists all measurements in the order of the report.
func Sections() []Section {
	return []Section{packets(), doors(), sources(), users(), cpus(), times(), latency(), flood()}
}

// Package bench measures tirl and its peers, and writes docs/benchmarks.md.
//
// A [Section] is one kind of measurement, such as what a packet costs. It runs with
// the contenders side by side and gives a [Result]: tables, plots and goals, all
// numbers. The runner, bench/cmd/bench, runs the sections one after the other, keeps all results in one
// JSON file and writes the report from that file alone, so that the text can be
// written anew without measuring again.
//
// To add a section: a function that gives it, a line in [Sections], and its prose
// in NAME.md.tmpl beside this file. That is a template of text/template, whose dot is the
// section's [Result], with the functions table, plot and goals: {{table "costs"}} prints the table of that name,
// {{plot "doors"}} shows the plot, {{goals}} lists the goals with what was measured, {{value "NAME"}} is a number
// of Result.Values. Without a template everything is printed in its order.
package bench

// Package metricstest keeps the published table of metrics equal to the code. A test of each
// program reads all collectors of that program with [Read], and [Table.Check] compares the
// result with the program's section of controller/install/monitoring/METRICS.md:
//
//	rows := metricstest.Read(t, kinds, registry)
//	metricstest.Table{Program: "edgecore", Rows: rows}.Check(t)
//
// With EDGEKIT_UPDATE=1 in the environment Check writes the section instead; "go generate" does
// so. Read fails the test for a series without help, and for a name that Prometheus' linter
// (promlint) refuses.
package metricstest

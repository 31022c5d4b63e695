// Package skew tests that edgecore and cloudcore of different versions work together: "make
// skew" builds those of earlier commits, which .ci/skew-versions names, and runs each with this
// tree's, both ways.
package skew

// Package registry remembers which image registries could not be reached lately, so
// that a hundred pods that start without a network do not each wait for the same
// registry.
package registry

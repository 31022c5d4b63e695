// Package packages makes the Debian, RPM and Alpine packages of edgekit. A package never
// starts or enables a service: 'edgectl join' does, or the operator.
package packages

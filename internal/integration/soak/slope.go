package main

import "slices"

// A point is the value of a quantity at a time.
type point struct{ seconds, value float64 }

// slope returns the growth of the values per second: the median of the slopes
// between all pairs of points (Theil–Sen estimator), which is robust against outliers.
func slope(points []point) float64 {
	var slopes []float64
	for i, a := range points {
		for _, b := range points[i+1:] {
			if b.seconds > a.seconds {
				slopes = append(slopes, (b.value-a.value)/(b.seconds-a.seconds))
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	return median(slopes)
}

// growth returns the growth of the values from the first point to the last, assuming
// that they grow evenly.
func growth(points []point) float64 {
	if len(points) == 0 {
		return 0
	}
	return slope(points) * (points[len(points)-1].seconds - points[0].seconds)
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

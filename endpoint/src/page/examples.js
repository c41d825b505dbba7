/** Texts to try the page with. */

/** Lines of a paragraph become one. */
const unwrap = (text) => text.trim().replace(/([^\n])\n(?=[^\n])/g, "$1 ");

export const EXAMPLES = [
  {
    name: "The night train",
    text: unwrap(`
The night train between the two capitals will run again from the spring, eleven years after the
last one left. The railways of both countries said on Tuesday that they had ordered nine new
sleeping cars, and that tickets would be sold from January. The train was given up because few
people wanted to spend fourteen hours on a journey that takes two by air. Since then fares for
flights have risen, and a survey last year found that a third of all travellers would go by
night if they could sleep lying down.

The journey will take twelve hours, two less than before, as a tunnel below the pass was opened
in the meantime. A place in a cabin for four will cost 49 euros, a cabin for one 159. Breakfast
is included, and bicycles are carried at no charge.

Critics say that the project depends on a subsidy of six million euros a year, which both
parliaments have granted for three years only. The union of train drivers welcomed the plan, but
warned that there were too few drivers who know both signalling systems. Forty of them are to be
trained by March.`),
  },
  {
    name: "Bees in the city",
    text: unwrap(`
Bees in the centre of the city make more honey than those in the fields around it, a study over
five summers has found. Researchers of the agricultural college weighed 120 hives each week,
half of them on roofs and half beside farms. The hives on roofs gained 31 kilograms a year on
average, those beside farms 19.

The reason is not that the city has more flowers, the researchers say, but that something is in
bloom there from March to October. Around the farms, rape flowers for three weeks in May, and
after the harvest in July the bees find little. In August the hives in the country lost weight
each year.

The honey of the city was also tested for lead and other metals, and all samples were far below
the limits. The college now advises farmers to sow strips of late flowers along their fields. In
two villages where that was done last year, hives gained weight in August for the first time.`),
  },
  {
    name: "A bridge is closed",
    text: unwrap(`
The old bridge over the river will be closed to lorries from Monday, after engineers found
cracks in two of its girders. Cars and buses may still cross, at no more than 30 kilometres an
hour. The cracks were found during an inspection that takes place every six years. They are up
to four centimetres long and were not there at the last one.

The city's engineer said that there was no danger for those who cross the bridge today, but that
the cracks would grow under heavy loads. About 900 lorries use the bridge each day. They will
have to go by the motorway, which adds 14 kilometres to the way to the harbour. The chamber of
commerce put the cost at three million euros a year and asked for a second crossing, which has
been planned since 1998.

The girders can be repaired, but not before next summer, because the steel must be made to
measure. Until then sensors will watch the cracks day and night. If one of them grows by more
than a millimetre, the bridge will be closed to all.`),
  },
];

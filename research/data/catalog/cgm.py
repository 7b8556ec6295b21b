"""`CGM`: glucose of 19 people every five minutes, and what it is half an hour and an hour later."""

from __future__ import annotations

import dataclasses

from research.data.about import About
from research.data.formats.series_csv import SeriesCSV
from research.data.series import Series
from research.data.source import Source
from research.data.windows import Forecast
from research.spec import Static, field


class CGM(Source):
    """Continuous glucose monitoring of Hall et al.: 19 people, a reading every five minutes for about a week.

    Windows of the last ``history`` readings, on a grid of five minutes back from each reading, and the glucose at the
    ``horizons`` after it; see `research.data.Forecast` for gaps. A reading at a horizon counts within two and a half
    minutes; windows without one are left out and counted. People are never divided between splits.

    Hall, Perelman, Breschi et al., "Glucotypes reveal new patterns of glucose dysregulation", PLoS Biology 16 (2018).
    The file is the one that the package iglu carries (Broll et al., PLoS ONE 2021).
    """

    path: str = field(
        "cgm/example_data_hall.csv", help="the file: id, time, gl, diagnosis; as given, then below $RESEARCH_DATA_DIR"
    )
    history: int = field(24, minimum=1, help="readings that are looked back on, five minutes apart")
    horizons: Static[tuple[float, ...]] = field((30.0, 60.0), above=0, help="minutes ahead of the last reading")
    gaps: int = field(6, minimum=0, help="most readings that may be absent from the history")
    stride: int = field(1, minimum=1, help="every how many readings a window ends")

    def validate(self) -> None:
        """As `Forecast.validate`."""
        self._forecast().validate()

    def _forecast(self) -> Forecast:
        return Forecast(history=self.history, horizons=self.horizons, interval=5.0, gaps=self.gaps, stride=self.stride)

    def _table(self) -> SeriesCSV:
        return SeriesCSV(
            path=self.path,
            patient="id",
            time="time",
            time_unit="minutes",
            variables=("gl",),
            units=("gl=mg/dL",),
            target="gl",
            task="regression",
            forecast=self._forecast(),
        )

    def reads_series(self) -> SeriesCSV:
        """See `Source.reads_series`: readings in a file like that of the source."""
        return self._table()

    def about(self) -> About:
        """Licence, citation and notes."""
        ahead = " and ".join(f"{horizon:g}" for horizon in self.horizons)
        return About(
            name="cgm",
            summary=f"34,890 readings of glucose of 19 people, five minutes apart; glucose {ahead} minutes ahead",
            licence="CC BY 4.0",
            citation=(
                "H. Hall, D. Perelman, A. Breschi et al.: Glucotypes reveal new patterns of glucose dysregulation. "
                "PLoS Biology 16(7), e2005143 (2018). doi:10.1371/journal.pbio.2005143"
            ),
            homepage="https://doi.org/10.1371/journal.pbio.2005143",
            notes=(
                "5 people with diabetes, 14 with prediabetes; the diagnosis is no input",
                "patients by column id; windows overlap, so neighbours of one person are much alike",
            ),
        )

    def load(self) -> Series:
        """All complete windows.

        Raises:
            UserError: if the file is absent or damaged, or no window is complete.
        """
        found = self._table().load()
        names = tuple(f"{horizon:g} min" for horizon in self.horizons)
        about, read = self.about(), found.about.notes
        return dataclasses.replace(
            found,
            variables=(dataclasses.replace(found.variables[0], name="glucose"),),
            task=dataclasses.replace(found.task, names=names),
            about=dataclasses.replace(about, notes=(*about.notes, *(note for note in read if "left out" in note))),
        )
